"""Names of files that are not UTF-8, as archives of GBK or Latin-1 systems unpack on Linux: they are read as others."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.verify import verify
from shards.manifest import Manifest
from tests.pipeline.sources.reading import read

CHAPTERS, CAFE = "章节".encode("gbk"), b"caf\xe9"


def write(root: Path, name: bytes, text: str) -> None:
    path = os.path.join(os.fsencode(root), name)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text.encode())
    except OSError:
        pytest.skip("this file system takes only UTF-8")


def test_a_dataset_names_them_in_utf8_and_finds_them_again(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write(raw, CHAPTERS + b"/a.jsonl", "".join(json.dumps({"text": f"line {n} of words"}) + "\n" for n in range(31)))
    write(raw, CAFE + b".txt", "\n\n".join(f"Paragraph {n} of a text." for n in range(31)))
    config = PipelineConfig(
        input=[str(raw)], output=tmp_path / "d" / "x", vocab_size=280, workers=1, block_bytes=300, report=False
    )
    process(config)
    names = [entry.name for entry in Manifest.load(config.output).inputs]
    assert names == [r"caf\udce9.txt", rf"{os.fsdecode(CHAPTERS).encode(errors='backslashreplace').decode()}/a.jsonl"]
    for path in (path for path in config.output.rglob("*.json*") if path.is_file()):
        path.read_bytes().decode()
    assert not process(config, resume=True).changed
    places = [str(raw / os.fsdecode(CHAPTERS)), str(raw / os.fsdecode(CAFE + b".txt"))]
    for place in ([str(raw)], places):
        report = verify(config.output, place, samples=10**6)
        assert not report.problems and not report.notes and report.samples == 62


def test_text_files_and_class_directories(tmp_path: Path) -> None:
    write(tmp_path, b"books/" + CAFE + b".txt", "one")
    write(tmp_path, b"books/" + CHAPTERS + b".txt", "two")
    found = read([{"path": str(tmp_path / "books"), "input_format": "text_files"}])
    assert found.texts == ["one", "two"]
    content = CAFE + b".txt\x003\x00one" + CHAPTERS + b".txt\x003\x00two"  # the names' own bytes
    assert found.digests == {"books": [hashlib.sha256(content).hexdigest()]}
    for kind in (CAFE, b"tea"):
        write(tmp_path, b"drinks/" + kind + b"/" + CHAPTERS + b".txt", "about it")
    drinks = {"path": str(tmp_path / "drinks"), "input_format": "class_directories"}
    found = read([drinks])
    assert found.labels == [0, 1] and found.inputs[0].options.labels == (r"caf\udce9", "tea")
    assert [file.name for file in found.inputs] == [r"caf\udce9", "tea"]
    for label in (r"caf\udce9", os.fsdecode(CAFE)):  # as a manifest has it, and as a shell gives it
        assert read([{**drinks, "labels": ["tea", label]}]).labels == [1, 0]
