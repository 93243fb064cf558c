"""The command as people type it: what it refuses, what it says, what it leaves alone."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline.cleaning.jsonl_file import clean_jsonl
from pipeline.config import PipelineConfig
from pipeline.preview.dry_run import dry_run
from pipeline.process import process
from pipeline.sources import files
from pipeline.sources.base import Identity

from .conftest import Run, arguments, digests, lock_of


def test_existing_dataset_is_never_touched_unasked(small: PipelineConfig, run: Run) -> None:
    assert run(*arguments(small)).returncode == 0
    before = digests(small.output)
    refused = run(*arguments(small))
    assert refused.returncode == 2 and refused.stderr.startswith("error: ")
    assert "--resume" in refused.stderr and "--overwrite" in refused.stderr and "Traceback" not in refused.stderr
    assert digests(small.output) == before
    again = run(*arguments(small), "--resume")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert digests(small.output) == before


def test_the_summary_says_what_became_of_every_record(small: PipelineConfig, run: Run) -> None:
    done = run(*arguments(small))
    assert "Warning" not in done.stderr
    told = done.stdout
    accounts = json.loads((small.output / "stats.json").read_text())["accounts"]
    for outcome, entry in accounts.items():
        assert re.search(rf"{outcome} +{entry['records']:,} records", told)
    assert str(small.output / "quarantine" / "records.jsonl") in told
    assert f"train.py --train_data_path {small.output}" in told


def test_half_done_work_is_never_touched_unasked(small: PipelineConfig, run: Run) -> None:
    assert run(*arguments(small), failpoint="journal.after_append:3").returncode < 0
    refused = run(*arguments(small))
    assert refused.returncode == 2 and "half-done" in refused.stderr
    assert run(*arguments(small), "--overwrite").returncode == 0


def test_other_settings_are_refused_with_the_difference(small: PipelineConfig) -> None:
    process(small)
    with pytest.raises(UserError, match=r"min_chars 1, now 5.*--overwrite"):
        process(small.model_copy(update={"min_chars": 5}), resume=True)


def test_a_foreign_directory_is_not_filled(small: PipelineConfig) -> None:
    small.output.mkdir(parents=True)
    (small.output / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        process(small)
    assert [path.name for path in small.output.iterdir()] == ["thesis.tex"]


def test_overwrite_replaces_only_at_the_end(small: PipelineConfig, corpus: Path) -> None:
    process(small)
    broken = small.model_copy(update={"input": [str(corpus / "a.jsonl")], "max_bad_fraction": 0.0})
    before = digests(small.output)
    with pytest.raises(UserError, match="could not be read"):
        process(broken, overwrite=True)
    assert digests(small.output) == before
    process(broken.model_copy(update={"max_bad_fraction": 0.5}), overwrite=True)
    manifest = json.loads((small.output / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["inputs"]] == ["a.jsonl"]
    named = {s["name"] for split in manifest["splits"].values() for s in split["shards"]}
    on_disk = {path.name.split(".")[0] for path in small.output.rglob("*.bin")}
    assert on_disk == named


def test_overwrite_with_another_tokenizer(small: PipelineConfig) -> None:
    process(small)
    other = small.model_copy(update={"tokenizer": None, "vocab_size": 400})
    manifest = process(other, overwrite=True).manifest
    fresh = other.model_copy(update={"output": small.output.parent / "fresh" / "x"})
    assert process(fresh).manifest == manifest
    assert digests(fresh.output) == digests(small.output)


def test_added_input_maps_only_that_file(small: PipelineConfig, corpus: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_bytes((corpus / "a.jsonl").read_bytes())
    config = small.model_copy(update={"input": [str(raw)], "tokenizer": None, "vocab_size": 400})
    process(config)
    parts = next(small.output.parent.glob(".work/*/parts"))
    first = {path: path.stat().st_ino for path in parts.iterdir()}
    (raw / "b.jsonl").write_bytes((corpus / "b.jsonl").read_bytes())
    old = process(config, resume=True).manifest
    assert old is not None
    assert first.items() <= {path: path.stat().st_ino for path in parts.iterdir()}.items()
    assert len(list(parts.iterdir())) > len(first)
    assert len(old.inputs) == 2


def test_changed_input_is_read_again(small: PipelineConfig, tmp_path: Path) -> None:
    raw = tmp_path / "in.jsonl"
    raw.write_text('{"text": "first version"}\n{"text": "second line"}\n')
    config = small.model_copy(update={"input": [str(raw)], "val_fraction": 0.0, "test_fraction": 0.0})
    before = process(config).manifest
    raw.write_text('{"text": "other version"}\n{"text": "second line"}\n')
    result = process(config, resume=True)
    assert before is not None and result.manifest is not None
    assert result.changed and result.manifest.inputs != before.inputs


def test_input_that_changes_while_read_is_refused(small: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import plan

    raw = small.output.parent.parent / "growing.jsonl"
    raw.write_text('{"text": "a line"}\n' * 100)
    real = plan.make_plan

    def plan_then_grow(*values: object) -> object:
        tasks = real(*values)  # type: ignore[arg-type]
        with raw.open("a") as out:
            out.write('{"text": "one more"}\n')
        return tasks

    monkeypatch.setattr("pipeline.process.make_plan", plan_then_grow)
    config = small.model_copy(update={"input": [str(raw)]})
    with pytest.raises(UserError, match=r"growing.jsonl: changed while it was read"):
        process(config)
    assert not (small.output / "manifest.json").exists()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("log.csv", {}), ("log.json", {}), ("log.parquet", {}), ("log.arrow", {}), ("log.jsonl", {"max_samples": 9}),
        ("log.jsonl", {"tokenizer": None, "vocab_size": 400}), ("log.jsonl", {"decontaminate": ["log.jsonl"]}),
    ],
)  # fmt: skip
def test_input_that_changes_before_workers_read_it_is_refused(
    small: PipelineConfig, growing: list[str], name: str, settings: dict[str, Any]
) -> None:
    """The process that plans reads inputs, too."""
    Path(name).write_text(("text\n" if name.endswith(".csv") else '{"text": "a line"}\n') * 30)
    config = small.model_copy(update={"input": [name], "block_bytes": 64, **settings})
    with pytest.raises(UserError, match=rf"^{name}: changed while it was read; run again when nothing writes to it"):
        process(config)
    assert growing == [name] and not (small.output / "manifest.json").exists()


def test_input_that_changes_is_refused_by_commands_of_one_process(small: PipelineConfig, growing: list[str]) -> None:
    raw = Path("log.jsonl")
    raw.write_text('{"text": "a line"}\n' * 9)
    config = small.model_copy(update={"input": [str(raw)]})
    for command in (lambda: dry_run(config), lambda: clean_jsonl(raw, Path("clean.jsonl"), config)):
        with pytest.raises(UserError, match=r"^log\.jsonl: changed while it was read"):
            command()
    assert growing == ["log.jsonl"] * 2 and not Path("clean.jsonl").exists()


@pytest.fixture
def growing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Every input is appended to once it was identified; the names of those. The working directory is `tmp_path`."""
    names: list[str] = []
    real = files.identify

    def identify_then_grow(path: str) -> Identity:
        identity = real(path)
        with open(path, "a") as out:
            out.write("more\n")
        names.append(path)
        return identity

    monkeypatch.setattr("pipeline.plan.identify", identify_then_grow)
    monkeypatch.setattr("pipeline.sources.files.identify", identify_then_grow)
    monkeypatch.chdir(tmp_path)
    return names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "absent.jsonl"], "absent.jsonl: no such file"),
        (["--input", "empty_directory"], "no text in this directory"),
        (["--input", "picture.png"], "unknown kind of file"),
        (["--input", "in.jsonl", "in.jsonl"], "given twice"),
        (["--input", "in.jsonl", "--vocab_siz", "3"], "did you mean --vocab_size"),
        (["--input", "in.jsonl", "--vocab_size", "100"], "too small"),
        (["--input", "in.jsonl", "--val_fraction", "1.5"], "val_fraction"),
        (["--input", "in.jsonl", "--val_fraction", "0.6", "--test_fraction", "0.5"], "nothing to train on"),
        (["--input", "in.jsonl", "--tokenizer", "nowhere"], "tokenizer.json"),
        (["--input", "in.jsonl", "--config", "bad.yaml"], "bad.yaml:2"),
        (["--input", "in.jsonl", "--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_mistakes_have_one_clear_message(run: Run, tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "empty_directory").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "in.jsonl").write_text('{"text": "hello"}\n')
    (tmp_path / "bad.yaml").write_text("pipeline:\n  vocab_sise: 3\n")
    result = run("--output", "d/x", *options)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[0].startswith("error: ") or "error: " in result.stderr
    assert not (tmp_path / "d" / "x").exists()


@pytest.mark.parametrize(
    "where", ["map.mid_part:2", "map.before_rename:1", "shard.before_rename:1", "publish.before_manifest:1"]
)
def test_full_disk_has_one_message_and_leaves_no_litter(small: PipelineConfig, run: Run, where: str) -> None:
    full = run(*arguments(small), failpoint=f"{where}:raise=ENOSPC")
    assert full.returncode == 1
    last = full.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "disk is full" in last and str(small.output.parent) in last
    assert "Traceback" not in full.stderr
    assert not (small.output / "manifest.json").exists()
    assert not [path for path in small.output.parent.rglob(".tmp-*")]
    assert run(*arguments(small), "--resume").returncode == 0


def test_a_second_run_is_refused_by_name(small: PipelineConfig, run: Run) -> None:
    with DirectoryLock(lock_of(small.output), "a test"):
        second = run(*arguments(small))
    assert second.returncode == 2 and f"process {os.getpid()}" in second.stderr
    assert run(*arguments(small)).returncode == 0


def test_no_clock_host_or_path_in_the_dataset(small: PipelineConfig, corpus: Path, tmp_path: Path) -> None:
    process(small)
    text = b"".join(path.read_bytes() for path in small.output.rglob("*") if path.suffix in (".json", ".jsonl"))
    assert str(corpus).encode() not in text and str(tmp_path).encode() not in text
    assert os.uname().nodename.encode() not in text or len(os.uname().nodename) < 4
    assert not re.search(rb"20\d\d-\d\d-\d\d", text)
