"""Slices of the map work, one after the other and at the same time, give the dataset of one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline.config import PipelineConfig
from pipeline.process import process

from .conftest import ROOT, Run, arguments, digests, lock_of


def slices(config: PipelineConfig, count: int) -> list[PipelineConfig]:
    return [config.model_copy(update={"task_slice": f"{n}/{count}"}) for n in range(1, count + 1)]


@pytest.fixture
def expected(small: PipelineConfig) -> dict[str, str]:
    """The files of one undivided run, made elsewhere."""
    whole = small.model_copy(update={"output": small.output.parent.parent / "whole" / "x"})
    process(whole)
    return digests(whole.output)


def mapped(config: PipelineConfig) -> dict[str, int]:
    """The parts that are there, and their inodes: a part that is made again gets another."""
    return {path.name: path.stat().st_ino for path in config.output.parent.glob(".work/*/parts/*")}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_slices_then_publish(small: PipelineConfig, expected: dict[str, str], count: int) -> None:
    seen: set[str] = set()
    for share in reversed(slices(small, count)):
        result = process(share)
        assert result.manifest is None and not small.output.exists()
        made = set(mapped(small)) - seen
        assert made, "every slice has something to do"
        seen |= made
    before = mapped(small)
    assert process(small, resume=True).changed
    assert mapped(small) == before, "publishing maps nothing anew"
    assert digests(small.output) == expected
    assert not process(small, resume=True).changed


def test_slices_divide_the_tasks_evenly(small: PipelineConfig) -> None:
    counts = []
    for share in slices(small, 3):
        before = len(mapped(small))
        process(share)
        counts.append(len(mapped(small)) - before)
    assert max(counts) - min(counts) <= 1 and min(counts) > 3


def test_publishing_maps_what_a_lost_slice_left(small: PipelineConfig, expected: dict[str, str]) -> None:
    process(slices(small, 3)[0])
    process(slices(small, 3)[2])
    before = mapped(small)
    process(small, resume=True)
    assert before.items() < mapped(small).items()
    assert digests(small.output) == expected


def test_slices_at_the_same_time(small: PipelineConfig, tmp_path: Path) -> None:
    """Three processes start at once, with a tokenizer to train: one trains it, the others wait; one dies on the way."""
    config = small.model_copy(update={"tokenizer": None, "vocab_size": 400})
    whole = config.model_copy(update={"output": tmp_path / "whole" / "x"})
    process(whole)
    running = []
    for number, share in enumerate(slices(config, 3)):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment["MATECONV_FAILPOINT"] = "journal.after_append:2" if number == 1 else ""
        command = [sys.executable, "-m", "pipeline.process", *arguments(share)]
        running.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, -9, 0], errors
    trained = sum("training a" in path.read_text() for path in tmp_path.glob("dataset/.work/*/process-*.log"))
    assert trained == 1
    process(config, resume=True)
    assert digests(config.output) == digests(whole.output)


def test_the_same_slice_twice_and_publishing_beside_a_slice_are_refused(small: PipelineConfig) -> None:
    first, second = slices(small, 2)
    process(first)
    [own] = small.output.parent.glob(".work/*-1-of-2.lock")
    with DirectoryLock(lock_of(small.output), "a slice of a test", shared=True):
        with (
            DirectoryLock(own, "a slice of a test"),
            pytest.raises(UserError, match=rf"in use by process {os.getpid()}"),
        ):
            process(first)
        process(second)
        with pytest.raises(UserError, match=r"in use by process \d+ .*a slice of a test|in use by process \d+"):
            process(small, resume=True)
    with DirectoryLock(lock_of(small.output), "publishing in a test"), pytest.raises(UserError, match="in use by"):
        process(second)
    process(small, resume=True)


def test_a_mismatch_in_one_slice_counts_for_all(small: PipelineConfig, expected: dict[str, str]) -> None:
    """The first slice is done with the fast engine before the second finds it wrong: its parts are made again."""
    first, second = slices(small, 2)
    process(first, engine_factory="tests.pipeline.test_slices:build_right")
    made = mapped(small)
    assert made
    process(second, engine_factory="tests.pipeline.test_audit:build_dense_wrong")
    process(small, resume=True, engine_factory="tests.pipeline.test_audit:build_dense_wrong")
    assert digests(small.output) == expected
    after = mapped(small)
    assert all(after[key] != inode for key, inode in made.items()), "no part of the wrong engine is used"


def build_right(tokenizer: object) -> object:
    """An engine of another name that is right where it is used."""
    from tokenization.engines.reference import ReferenceEngine

    class Right(ReferenceEngine):
        name = "right-so-far"

    return Right(tokenizer)  # type: ignore[arg-type]


def test_a_torn_journal_of_a_slice_is_read_to_its_last_whole_line(
    small: PipelineConfig, expected: dict[str, str]
) -> None:
    for share in slices(small, 2):
        process(share)
    for journal in small.output.parent.glob(".work/*/journal-*.jsonl"):
        journal.write_bytes(journal.read_bytes()[:-10])
    before = mapped(small)
    process(small, resume=True)
    assert sum(before[key] != inode for key, inode in mapped(small).items()) == 2, "the two torn records' parts"
    assert digests(small.output) == expected


def test_slices_of_a_finished_dataset_have_nothing_to_do(small: PipelineConfig) -> None:
    process(small)
    assert not process(slices(small, 2)[1]).changed


@pytest.mark.parametrize("value", ["0/3", "4/3", "3", "a/b", "1/0", "/", "-1/3"])
def test_a_slice_is_written_as_a_share(run: Run, value: str) -> None:
    refused = run("--input", "x.jsonl", f"--task_slice={value}")
    assert refused.returncode == 2 and "3/16" in refused.stderr and "Traceback" not in refused.stderr


def test_overwriting_by_slices_is_refused(small: PipelineConfig) -> None:
    with pytest.raises(UserError, match="--overwrite with --task_slice"):
        process(slices(small, 2)[0], overwrite=True)
