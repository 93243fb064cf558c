"""Every document can be shown and traced to the record it came from."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from pipeline import inspect
from pipeline.config import PipelineConfig
from pipeline.inspection import finding
from pipeline.inspection.finding import find_sources
from pipeline.inspection.recorded import config_of
from pipeline.inspection.tracing import SourceReader
from pipeline.process import process
from pipeline.sources.base import Identity
from pipeline.sources.files import identify
from shards.dataset import Dataset
from shards.manifest import Manifest

from .conftest import plain_cleaning

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of JSONL, an archive and a text file; read only."""
    output = tmp_path_factory.mktemp("made") / "dataset" / "x"
    process(
        PipelineConfig(
            input=[str(corpus)], output=output, tokenizer=tokenizer, workers=1,
            block_bytes=9000, shard_tokens=7000, val_fraction=0.1, test_fraction=0.05, max_bad_fraction=0.2,
        )
    )  # fmt: skip
    return output


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file but the defaults."""
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> str:
    assert inspect.main(list(options)) == code
    return capsys.readouterr().out


def all_documents(dataset: Path):
    for split in ("train", "val", "test"):
        opened = Dataset.open(dataset, split)
        for number in range(opened.documents):
            yield opened, number


def test_every_document_leads_to_its_record(made: Path, corpus: Path) -> None:
    """Against a plain reading of the source files: line, raw bytes, text."""
    manifest = Manifest.load(made)
    config = config_of(manifest.settings, tokenizer=made / "tokenizer")
    found = find_sources(manifest, [str(corpus)], config)
    assert sorted(found.files) == [0, 1, 2, 3] and not found.missing
    content = {}
    for number, entry in enumerate(manifest.inputs):
        data = (corpus / entry.name).read_bytes()
        content[number] = gzip.decompress(data) if entry.name.endswith(".gz") else data
    readers = {number: SourceReader(file, config) for number, file in found.files.items()}
    seen = 0
    for opened, number in all_documents(made):
        record = opened.record(number)
        source, offset = int(record["source"]), int(record["offset"])
        line = content[source][offset:].split(b"\n")[0]
        before = content[source][:offset].count(b"\n")
        assert readers[source].line_at(offset) == (line, before + 1)
        ((_, traced),) = readers[source].records([offset])
        assert traced is not None
        if manifest.inputs[source].name != "d.txt":
            assert traced.text.decode() == json.loads(line)["text"]
            assert traced.label == json.loads(line).get("label", -1)
        seen += 1
    assert seen > 200


def test_many_records_at_once_are_the_single_ones(made: Path, corpus: Path) -> None:
    manifest = Manifest.load(made)
    config = config_of(manifest.settings, tokenizer=made / "tokenizer")
    found = find_sources(manifest, [str(corpus)], config)
    for source, file in found.files.items():
        offsets = sorted(
            {int(o.record(n)["offset"]) for o, n in all_documents(made) if o.record(n)["source"] == source}
        )
        wanted = sorted([*offsets, 10**9, offsets[0] + 1])
        got = dict(SourceReader(file, config).records(wanted))
        assert list(got) == wanted and got[10**9] is None and got[offsets[0] + 1] is None
        for offset in offsets[::7]:
            ((_, alone),) = SourceReader(file, config).records([offset])
            one = got[offset]
            assert alone is not None and one is not None and (alone.text, alone.label) == (one.text, one.label)


def test_a_document_with_its_tokens(made: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Dataset.open(made, "val")
    out = told(capsys, str(made), "--split", "val", "--document", "3", "--tokens", "--input", str(corpus))
    record = opened.record(3)
    name = Manifest.load(made).inputs[int(record["source"])].name
    assert "document 3 of val" in out and f"{name}, offset {int(record['offset'])}" in out
    ids = [int(match[1]) for match in re.finditer(r"^  +\d+ +(\d+)  '", out, re.MULTILINE)]
    assert ids == opened.document(3).tolist()
    assert f"origin   {corpus / name}, line " in out


def test_a_record_is_found_by_its_place(made: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = (corpus / "b.jsonl").read_bytes().split(b"\n")[0]
    out = told(capsys, str(made), "--source", "b.jsonl", "--offset", "0", "--input", str(corpus))
    assert "b.jsonl, offset 0" in out and f"{corpus / 'b.jsonl'}, line 1:\n    {first.decode()}" in out
    for line in plain_cleaning(json.loads(first)["text"]).split("\n"):
        assert line.rstrip() in out


def test_search_shows_what_holds_the_text(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, str(made), "--search", "naïve1", "--limit", "2")
    blocks = [block for block in out.split("document ") if block.strip()]
    assert len(blocks) == 2 and all("naïve1" in block for block in blocks)
    assert "no document holds" in told(capsys, str(made), "--search", "platypus", code=1)


def test_random_documents(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, str(made), "--random", "3").count("  source   ") == 3
    everything = told(capsys, str(made), "--random", "100k", "--split", "test")
    assert everything.count("  source   ") == Dataset.open(made, "test").documents


def test_overview(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, str(made))
    manifest = Manifest.load(made)
    for split in ("train", "val", "test"):
        assert re.search(rf"{split} +{manifest.splits[split].documents:,} documents", out)
    assert "c.jsonl.gz" in out and "end_of_text '<|endoftext|>' = 0" in out and "val_fraction 0.1" in out


def test_an_input_that_is_gone_or_another_is_said_so(
    made: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    out = told(capsys, str(made), "--source", "a.jsonl", "--offset", "0", "--input", str(tmp_path))
    assert f"a.jsonl has 3 bytes, the dataset was made from {(corpus / 'a.jsonl').stat().st_size}" in out
    out = told(capsys, str(made), "--source", "a.jsonl", "--offset", "0", "--input", str(corpus / "b.jsonl"))
    assert "a.jsonl: not found; name the file or its directory with --input" in out
    moved = tmp_path / "deeper" / "down"
    shutil.copytree(corpus, moved)
    out = told(capsys, str(made), "--source", "a.jsonl", "--offset", "0", "--input", str(tmp_path / "deeper"))
    assert f"origin   {moved / 'a.jsonl'}, line 1:" in out


def test_only_the_input_of_the_document_is_looked_for(
    made: Path, corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def remember(path: str) -> Identity:
        asked.append(path)
        return identify(path)

    monkeypatch.setattr(finding, "identify", remember)
    assert ", line 1:" in told(capsys, str(made), "--source", "b.jsonl", "--offset", "0", "--input", str(corpus))
    assert asked == [str(corpus / "b.jsonl")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--document", "1", "--random", "2"], "--document and --random exclude each other"),
        (["--offset", "1"], "--source and --offset belong together"),
        (["--document", "9999"], r"train has the documents 0 to \d+, not 9999"),
        (["--source", "a.json", "--offset", "1"], "did you mean a.jsonl"),
        (["--source", "a.jsonl", "--offset", "1"], "no document of a.jsonl begins at 1; it may have been rejected"),
        (["--split", "valid", "--document", "1"], "'train', 'val' or 'test'"),
    ],
)
def test_mistakes_have_one_clear_message(made: Path, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        inspect.main([str(made), *options])


def test_the_command(made: Path, tmp_path: Path) -> None:
    def start(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline.inspect", *options], cwd=tmp_path, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        )  # fmt: skip

    shown = start(str(made), "--document", "0")
    assert shown.returncode == 0 and "document 0 of train" in shown.stdout, shown.stderr
    assert "dataset/raw: no such file or directory; check --input" in shown.stdout
    none = start("nowhere")
    assert none.returncode == 2 and "nowhere: no dataset there" in none.stderr
