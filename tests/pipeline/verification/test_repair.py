"""What is damaged is rebuilt to the very bytes that were there, and nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline import verify as command
from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.sources.base import Task
from pipeline.verification.shard_repair import ShardRepair
from pipeline.verify import verify
from pipeline.workspace.parts import Part
from shards.dataset import Dataset
from shards.manifest import Manifest
from tests.quick import quick

from ..conftest import ROOT, digests, lock_of
from .damage import configuration, every_file, flip, work, write_kinds


@pytest.mark.parametrize("keep_work", [True, False])
def test_every_file_is_repaired_to_the_same_bytes(dataset: Path, corpus: Path, keep_work: bool) -> None:
    whole = digests(dataset)
    for name in every_file(dataset):
        # What the others are known by is damaged one at a time, in the next test.
        if name not in ("manifest.json", "SHA256SUMS") and not name.startswith("tokenizer/"):
            flip(dataset / name, 5)
    if not keep_work:
        shutil.rmtree(dataset.parent / ".work")
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "tokenizer/tokenizer.json"])
def test_what_others_are_known_by_is_repaired_too(dataset: Path, corpus: Path, name: str) -> None:
    whole = digests(dataset)
    flip(dataset / name, 11)
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


def refuse_to_make_again(*_: object, **__: object) -> None:
    raise AssertionError("the dataset must not be made again for this")


def test_a_shard_is_rebuilt_from_the_parts_alone(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the inputs, and without making the rest again."""
    whole = digests(dataset)
    for name in whole:
        if name.endswith((".bin", ".idx")):
            flip(dataset / name, 4)
    monkeypatch.setattr("pipeline.verification.making_again.process", refuse_to_make_again)
    assert command.main([str(dataset), "--repair"]) == 0
    assert digests(dataset) == whole


@pytest.mark.parametrize("max_length", quick([None, 31], [31]))
def test_only_the_tasks_of_a_damaged_shard_are_mapped(
    corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_length: int | None
) -> None:
    config = configuration(corpus, tokenizer, tmp_path / "dataset" / "x")
    process(config.model_copy(update={"max_length": max_length, "block_bytes": 5000, "shard_tokens": 4000}))
    dataset, whole = config.output, digests(config.output)
    shutil.rmtree(dataset.parent / ".work")
    mapped: list[Task] = []
    real = ShardRepair._map

    def remember(self: ShardRepair, task: Task) -> Part:
        mapped.append(task)
        return real(self, task)

    monkeypatch.setattr(ShardRepair, "_map", remember)
    monkeypatch.setattr("pipeline.verification.making_again.process", refuse_to_make_again)
    opened = Dataset.open(dataset, "train")
    for shard in opened.shards:
        assert shard.records is not None
        sources = set(shard.records["source"].tolist())
        (tmp_path / "some").mkdir()
        for number in sources:  # the other inputs are gone
            name = Manifest.load(dataset).inputs[number].name
            shutil.copy2(corpus / name, tmp_path / "some" / name)
        flip(shard.path, 9)
        mapped.clear()
        assert command.main([str(dataset), "--input", str(tmp_path / "some"), "--repair"]) == 0
        assert digests(dataset) == whole
        for task in mapped:
            if task.path.endswith(".jsonl"):
                offsets = shard.records["offset"]
                assert ((offsets >= task.start) & (offsets < task.end)).any()
        shutil.rmtree(tmp_path / "some")
    assert len(opened.shards) > 5


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("tokens.bin", lambda data: bytes([data[0] ^ 1]) + data[1:]),
        ("documents.npy", lambda data: data[:-10]),
        ("documents.npy", lambda data: b""),
        ("documents.npy", lambda data: bytes(len(data))),
        ("documents.npy", lambda data: data.replace(b"(", b"[", 1)),
        ("summary.json", lambda data: data[:-10]),
        ("summary.json", lambda data: data.replace(b"documents.npy", b"documents.npx")),
    ],
)
def test_a_damaged_part_is_made_again(dataset: Path, corpus: Path, name: str, damage) -> None:
    whole = digests(dataset)
    flip(next(dataset.rglob("*.bin")), 1)
    for part in (work(dataset) / "parts").iterdir():
        (part / name).write_bytes(damage((part / name).read_bytes()))
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


def test_a_trained_tokenizer_stays_frozen(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "dataset" / "y"
    process(configuration(corpus, None, output))
    whole = digests(output)
    shutil.rmtree(output.parent / ".work")
    flip(next(output.rglob("*.bin")), 1)
    assert command.main([str(output), "--input", str(corpus), "--repair"]) == 0
    assert digests(output) == whole


def test_repair_that_cannot_be_changes_nothing(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset.parent / ".work")
    flip(next(dataset.rglob("*.bin")), 1)
    damaged = digests(dataset)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jsonl").write_text('{"text": "another file of this name"}\n')
    with pytest.raises(UserError, match=r"(?s)nothing was changed.*a.jsonl has 38 bytes.*b.jsonl: not found"):
        command.main([str(dataset), "--input", str(tmp_path / "elsewhere"), "--repair"])
    assert digests(dataset) == damaged
    assert not [path for path in dataset.parent.rglob(".tmp-*")]


def test_repair_waits_for_nobody(dataset: Path, corpus: Path) -> None:
    flip(next(dataset.rglob("*.bin")), 1)
    with (
        DirectoryLock(lock_of(dataset), "a test"),
        pytest.raises(UserError, match=f"in use by process {os.getpid()}"),
    ):
        command.main([str(dataset), "--input", str(corpus), "--repair"])


@pytest.mark.parametrize("max_length", quick([None, 31], [31]))
def test_every_kind_of_input_is_checked_and_repaired(tokenizer: Path, tmp_path: Path, max_length: int | None) -> None:
    inputs = write_kinds(tmp_path / "raw")
    config = PipelineConfig(
        input=inputs, output=tmp_path / "dataset" / "kinds", tokenizer=tokenizer, workers=1, block_bytes=4000,
        shard_tokens=9000, max_length=max_length, sentence_borders=True, val_fraction=0.1, max_bad_fraction=0.2,
    )  # fmt: skip
    process(config)
    report = verify(config.output, [str(tmp_path / "raw")], samples=10**6)
    assert not report.problems and not report.notes, (list(report.problems.lines()), report.notes)
    assert report.samples == sum(split.documents for split in Manifest.load(config.output).splits.values()) > 250
    whole = digests(config.output)
    assert {".spans.npy", ".sents.npy"} <= {"." + name.partition(".")[2] for name in whole}
    for name in whole:
        if name.partition("/")[0] in ("train", "val", "test"):
            flip(config.output / name, 3)
    shutil.rmtree(config.output.parent / ".work")
    assert command.main([str(config.output), "--input", str(tmp_path / "raw"), "--repair"]) == 0
    assert digests(config.output) == whole


def test_a_failed_repair_leaves_no_scratch(dataset: Path, corpus: Path) -> None:
    """An error in the middle: nothing half-written, and the same command then repairs."""
    whole = digests(dataset)
    flip(dataset / "stats.json", 1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MATECONV_FAILPOINT": "publish.mid_split:1:raise=EIO"}
    options = [sys.executable, "-m", "pipeline.verify", str(dataset), "--input", str(corpus), "--repair"]
    failed = subprocess.run(options, env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr, failed.stderr
    assert not [path for path in dataset.parent.rglob(".tmp-*")]
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


def test_work_in_another_directory_and_of_slices_repairs_too(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    """The configuration says where the work is; the journals of slices vouch for their parts."""
    config = configuration(corpus, tokenizer, tmp_path / "d" / "x")
    config = config.model_copy(update={"work_directory": str(tmp_path / "work")})
    for number in (1, 2):
        process(config.model_copy(update={"task_slice": f"{number}/2"}))
    process(config, resume=True)
    whole = digests(config.output)
    Path("config.yaml").write_text(f"pipeline: {{work_directory: {tmp_path / 'work'}}}\n")
    flip(next(config.output.rglob("*.bin")), 6)
    flip(next(config.output.rglob("*.idx")), 6)
    assert command.main([str(config.output), "--repair"]) == 0
    assert digests(config.output) == whole


@pytest.mark.slow
def test_evaluation_files_are_asked_for_when_they_are_needed(
    corpus: Path, tokenizer: Path, tmp_path: Path, dataset: Path
) -> None:
    words = " ".join(f"word{number}" for number in range(20))
    (tmp_path / "exam.jsonl").write_text(json.dumps({"text": words}))
    config = configuration(corpus, tokenizer, tmp_path / "d" / "x")
    process(config.model_copy(update={"decontaminate": [str(tmp_path / "exam.jsonl")]}))
    whole, options = digests(config.output), [str(config.output), "--input", str(corpus), "--repair"]
    flip(config.output / "stats.json", 3)
    assert command.main(options) == 0 and digests(config.output) == whole  # the work area knows its n-grams
    shutil.rmtree(config.output.parent / ".work")
    flip(config.output / "stats.json", 3)
    with pytest.raises(UserError, match="its evaluation files are needed"):
        command.main(options)
    Path("config.yaml").write_text(f"pipeline: {{decontaminate: [{tmp_path / 'exam.jsonl'}]}}\n")
    assert command.main(options) == 0 and digests(config.output) == whole
    without = digests(dataset)
    flip(dataset / "stats.json", 3)  # of a dataset that was made without evaluation files
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0 and digests(dataset) == without
