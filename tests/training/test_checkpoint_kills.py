"""Checkpoints under fire: killed at any moment of writing, on a disk that fills, there is always a whole one."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from training.batching.batches import Microbatch
from training.saving import checkpoint
from training.saving.background import BackgroundWriter
from training.saving.host_copy import HostCopy
from training.saving.resume import find_checkpoint

FIRST = 100
TENSORS, SIZE = 30, 41011


def content(step: int) -> dict[str, Any]:
    """About 5 MB in thirty tensors, each of which says which step it belongs to."""
    filled: dict[str, Any] = dict.fromkeys(checkpoint.REQUIRED, 0)
    model = {f"w{number}": torch.full((SIZE,), float(step + number)) for number in range(TENSORS)}
    return {**filled, "step": step, "model": model}


def save_for_ever(run: Path, first: int, ledger: int) -> None:
    """Save step after step as a run does, a byte into `ledger` when a step's checkpoint is complete."""
    torch.set_num_threads(1)
    writer, copy, live = BackgroundWriter(), HostCopy(), content(first)

    def write(copied: dict[str, Any]) -> None:
        checkpoint.save(run, copied, keep_last=2, best=copied["step"] - 3)
        os.write(ledger, b".")

    while True:
        writer.wait()
        copied = copy.take(live)
        writer.start(lambda copied=copied: write(copied))  # type: ignore[misc]
        live["step"] += 1
        for tensor in live["model"].values():  # the run goes on
            tensor += 1


def kill_while_saving(run: Path, delay: float) -> int:
    """Let a process save from the newest checkpoint on, kill it, give the last step it completed."""
    newest = run / checkpoint.NEWEST
    first = find_checkpoint(newest)[0]["step"] + 1 if newest.exists() else FIRST
    reader, ledger = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=save_for_ever, args=(run, first, ledger))
    child.start()
    os.close(ledger)
    time.sleep(delay)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL, "it ended by itself"
    with os.fdopen(reader, "rb") as file:
        return first - 1 + len(file.read())


def check(run: Path, completed: int) -> None:
    """There is a whole checkpoint, not older than the last completed one (if any)."""
    if completed < FIRST:
        return
    found, path = find_checkpoint(run / checkpoint.NEWEST)
    assert path == run / checkpoint.NEWEST
    assert found["step"] in (completed, completed + 1)  # published, and killed before it could say so
    for number in range(TENSORS):
        assert bool((found["model"][f"w{number}"] == found["step"] + number).all())


def kill_often(run: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    completed = FIRST - 1
    for _ in range(times):
        completed = max(completed, kill_while_saving(run, 0.05 + 0.25 * chance.random()))
        check(run, completed)
    assert completed > FIRST + times / 5, "the processes were killed before they saved anything"


def test_killed_at_random_moments_of_saving_there_is_a_whole_checkpoint(tmp_path: Path) -> None:
    kill_often(tmp_path, 5, seed=1)


@pytest.mark.slow
def test_killed_at_fifty_random_moments_of_saving_there_is_a_whole_checkpoint(tmp_path: Path) -> None:
    kill_often(tmp_path, 50, seed=2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = subprocess.run([str(mount), "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]) if mount else None
    if done is None or done.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def save_more(run: Path, half: dict[str, Any]) -> None:
    checkpoint.save(run, {**half, "step": FIRST + 1}, keep_last=1)


def test_a_disk_that_is_full_keeps_the_checkpoints_it_has(small_disk: Path) -> None:
    """Room for one checkpoint of 1.6 MB, not for two of them and a half: every length of a failed write."""
    half = content(FIRST)
    half["model"] = {name: half["model"][name] for name in list(half["model"])[:10]}
    checkpoint.save(small_disk, half, keep_last=1)
    filler, room = small_disk / "filler", shutil.disk_usage(small_disk).free
    writer = BackgroundWriter()
    for left in (0, 4096, 200_000, room - 300_000):
        filler.write_bytes(b"x" * (room - left))
        writer.start(lambda: save_more(small_disk, half))
        with pytest.raises(OSError) as caught:
            writer.wait()
        assert caught.value.errno == errno.ENOSPC and "step_000101.pth" in str(caught.value)
        assert find_checkpoint(small_disk / checkpoint.NEWEST)[0]["step"] == FIRST
        assert [path.name for path in (small_disk / checkpoint.DIRECTORY).iterdir()] == ["step_000100.pth"]
        filler.unlink()
    # Room again: the same run goes on.
    (small_disk / checkpoint.NEWEST).unlink()
    checkpoint.step_path(small_disk, FIRST).unlink()
    checkpoint.save(small_disk, {**half, "step": FIRST + 2}, keep_last=1)
    assert find_checkpoint(small_disk / checkpoint.NEWEST)[0]["step"] == FIRST + 2


def test_a_copy_is_whole_whatever_the_run_does_meanwhile() -> None:
    tied = torch.arange(6.0).view(2, 3)
    live: dict[str, Any] = {
        "model": {"a": tied, "b": tied, "c": torch.ones(3, dtype=torch.float64)},
        "list": [torch.zeros(2), {"x": 1}],
    }
    copy = HostCopy()
    copied = copy.take(live)
    tied += 1
    live["model"]["c"] += 1
    live["list"][1]["x"] = 2
    torch.testing.assert_close(copied["model"]["a"], torch.arange(6.0).view(2, 3), rtol=0, atol=0)
    assert copied["model"]["a"].data_ptr() == copied["model"]["b"].data_ptr() != tied.data_ptr()
    assert copied["model"]["c"].dtype == torch.float64 and bool((copied["model"]["c"] == 1).all())
    assert copied["list"][1] == {"x": 1}
    places = [copied["model"]["a"].data_ptr(), copied["model"]["c"].data_ptr()]
    again = copy.take(live)
    assert [again["model"]["a"].data_ptr(), again["model"]["c"].data_ptr()] == places, "the memory is used again"
    torch.testing.assert_close(again["model"]["b"], tied, rtol=0, atol=0)


class Copies(TorchDispatchMode):
    """Notes what copies are told about waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default:
            self.waiting.append(not (args[2] if len(args) > 2 else False))
        if func is torch.ops.aten._to_copy.default:
            self.waiting.append(not (kwargs or {}).get("non_blocking", False))
        return func(*args, **(kwargs or {}))


def test_what_no_cuda_stream_orders_is_copied_before_anyone_reads_it() -> None:
    """Apple's GPU copies later, too, where it is let: to memory that a writer reads, from memory that is free again.
    The CPU and `meta` stand in for it."""
    with Copies() as copies:
        HostCopy().take({"model": torch.ones(3)})
        Microbatch({"inputs": torch.ones(3)}, (3,), 3).to(torch.device("meta"))
    assert copies.waiting == [True, True]


def test_an_error_of_the_writer_is_raised_once_and_by_the_next_call() -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "broken")

    writer, done = BackgroundWriter(), []
    writer.start(fail)
    deadline = time.monotonic() + 20
    with pytest.raises(OSError, match="broken"):
        while time.monotonic() < deadline:
            writer.check()
            time.sleep(0.001)
    writer.check()
    writer.start(lambda: done.append(1))
    writer.wait()
    assert done == [1]
    writer.start(fail)
    with pytest.raises(OSError, match="broken"):
        writer.start(lambda: done.append(2))
    assert done == [1]
