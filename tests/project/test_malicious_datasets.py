"""Datasets that strangers made: what they record of their making opens no other file, calls no machine, writes nowhere
else, and steers no terminal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline.executors.ray
from foundation import fingerprint
from foundation.errors import UserError
from pipeline import inspect, verify
from pipeline.config import PipelineConfig
from pipeline.dedup.decontaminate import TABLE
from pipeline.inspection.recorded import config_of
from pipeline.process import process
from pipeline.verification.checksums import write_checksums
from shards.manifest import Manifest
from tokenization.train import train_byte_bpe

CANARY = "canary"
ESCAPES = "\x1b]0;owned\x07 \x9b2J \u202e rm"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a dataset, its input and its tokenizer; read only."""
    place = tmp_path_factory.mktemp("original")
    (place / "raw").mkdir()
    (place / "raw" / "a.txt").write_text(f"the cat sat {ESCAPES}\n\nthe dog ran", encoding="utf-8")
    train_byte_bpe(["the cat sat on the mat. " * 20], 280).save(place / "given")
    process(
        PipelineConfig(
            input=[str(place / "raw")], output=place / "made" / "x", tokenizer=str(place / "given"), workers=1,
            val_fraction=0, remove_control_characters=False, repair_c1_controls=False, collapse_blanks=False,
        )
    )  # fmt: skip
    shutil.rmtree(place / "made" / ".work")
    return place


@pytest.fixture
def place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def forge(dataset: Path, settings: dict[str, Any] | None = None, **entry: Any) -> None:
    """Change the settings and the first input in a manifest, under right fingerprints and checksums; work that was
    done for these settings lies beside the dataset."""
    content = json.loads((dataset / "manifest.json").read_bytes())
    content["settings"] |= settings or {}
    content["inputs"][0] |= entry
    content["pipeline_fingerprint"] = fingerprint.of_json(content["settings"])
    Manifest.model_validate(content).save(dataset)
    write_checksums(dataset)
    work = dataset.parent / ".work" / "x"
    work.mkdir(parents=True)
    (work / "work.json").write_text(json.dumps({"output": dataset.name, "settings": content["settings"]}))
    np.save(work / TABLE, np.zeros(1, np.uint64))


def refused(dataset: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the commands say of a dataset that none of them can follow to its sources."""
    options = [str(dataset), "--input", "raw"]
    assert inspect.main([*options, "--document", "0"]) == 0
    shown = capsys.readouterr().out.partition("  origin   ")[2]
    assert verify.main(options) == 0
    assert "note: " in capsys.readouterr().out
    (dataset / "stats.json").write_text("{}")
    with pytest.raises(UserError) as told:
        verify.main([*options, "--repair"])
    return f"{shown}\n{told.value}"


ATTACKS: dict[str, dict[str, Any]] = {
    "a directory to write to": {"work_directory": CANARY},
    "a store to upload to": {"work_directory": "memory://canary"},
    "a cluster to join": {"executor": "ray", "ray_address": "ray://198.51.100.1:10001"},
    "a file that never ends": {"blocklist_file": "pipe"},
    "evaluation files": {"decontaminate": ["pipe"]},
    "more evaluation files": {"decontaminate": ["0" * 64, "pipe"]},
    "one evaluation file": {"decontaminate": {"path": "pipe"}},
    "this directory for evaluation": {"decontaminate": ""},
    "a cache": {"hub_cache": CANARY},
    "a part of the work": {"task_slice": "1/2"},
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ATTACKS)
def test_settings_name_no_place_and_no_machine(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(place / "pipe")
    monkeypatch.setattr(pipeline.executors.ray, "RayExecutor", lambda *_: (place / CANARY).mkdir())
    forge(place / "made" / "x", ATTACKS[name])
    told = refused(place / "made" / "x", capsys)
    assert told.count("the dataset's settings cannot be used by this version: ") == 2
    assert not (place / CANARY).exists()


def test_no_setting_that_says_how_to_work_is_taken() -> None:
    values = PipelineConfig().model_dump()
    for name in PipelineConfig.neutral() - {"tokenizer", "decontaminate"}:
        with pytest.raises(UserError, match=f"{name} is for the user to say"):
            config_of({name: values[name]}, PipelineConfig())


@pytest.mark.parametrize("value", [None, 5, ["trained"], f"../{CANARY}"])
def test_a_tokenizer_is_a_fingerprint(value: object, place: Path) -> None:
    dataset = place / "made" / "x"
    forge(dataset, {"tokenizer": value})
    (dataset / "stats.json").write_text("{}")
    with pytest.raises(UserError, match="tokenizer is no fingerprint"):
        verify.main([str(dataset), "--input", "raw", "--repair"])


@pytest.mark.parametrize(
    "options",
    [
        {"evil": 1}, {"labels": 5}, {"label": 1 << 40}, {"split": f"../{CANARY}"}, {"weight": 1e12}, {"weight": -1},
        {"format": "evil"}, {"format": "class_files"}, {"format": "csv", "csv_delimiter": ""}, {"csv_delimiter": "ab"},
        {"compression": "evil"}, {"text_field": None}, {"text_separator": ""}, {"text_documents": "evil"},
    ],
)  # fmt: skip
def test_options_of_an_input_are_those_it_can_have(
    options: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(place / "made" / "x", options={"format": "text", **options})
    told = refused(place / "made" / "x", capsys)
    assert told.count("the dataset's options of a.txt cannot be used by this version: ") == 2


def test_texts_and_names_do_not_steer_the_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, name = place / "made" / "x", f"raw/{ESCAPES}\n  next        evil.txt"
    forge(dataset, {"text_field": ESCAPES}, name=name)
    for options in ((), ("--document", "0", "--tokens"), ("--document", "0", "--input", "raw/a.txt")):
        assert inspect.main([str(dataset), *options]) == 0
        shown = capsys.readouterr().out
        assert "⟨U+001B⟩]0;owned" in shown and not set(shown) & set("\x1b\x07\x9b\u202e")
        assert not [line for line in shown.splitlines() if "evil.txt" in line and "owned" not in line]
    (dataset / f"stray {ESCAPES}").write_text("")
    assert verify.main([str(dataset), "--input", "raw"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("⟨U+001B⟩") == 2 and not set(shown) & set("\x1b\x07\x9b\u202e")


def test_a_document_of_no_input_is_refused(place: Path) -> None:
    dataset = place / "made" / "x"
    path = next(dataset.glob("train/*.docs.npy"))
    records = np.load(path)
    records["source"] = 153
    np.save(path, records)
    with pytest.raises(UserError, match="document 0 of train names source 153 of 1; check the dataset"):
        inspect.main([str(dataset), "--document", "0"])
