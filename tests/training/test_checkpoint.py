"""Checkpoint files: whole or absent at every instant."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from training.saving import checkpoint
from training.saving.resume import find_checkpoint

ROOT = Path(__file__).resolve().parents[2]
POINTS = ["checkpoint.write", "checkpoint.written", "checkpoint.renamed", "checkpoint.published"]


def content(step: int) -> dict[str, Any]:
    filled: dict[str, Any] = dict.fromkeys(checkpoint.REQUIRED, 0)
    filled |= {"step": step, "model": {"w": torch.full((1009,), float(step))}, "tokenizer_files": {"t": b"\x00\xff"}}
    return filled


def test_what_is_saved_is_loaded_and_retention_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        checkpoint.save(tmp_path, content(step), keep_last=2)
    assert checkpoint.saved_steps(tmp_path) == [15, 20]
    loaded = checkpoint.load(tmp_path / "ckpt.pth")
    assert loaded["step"] == 20 and loaded["tokenizer_files"] == {"t": b"\x00\xff"}
    torch.testing.assert_close(loaded["model"]["w"], torch.full((1009,), 20.0))
    assert (tmp_path / "ckpt.pth").samefile(checkpoint.step_path(tmp_path, 20))
    # Anyone else can read it too, with torch alone.
    assert torch.load(tmp_path / "ckpt.pth", weights_only=True)["format"] == "mateconv-checkpoint"


def test_a_rewound_run_drops_the_future_it_left(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, content(step), keep_last=3)
    checkpoint.save(tmp_path, content(7), keep_last=3)
    assert checkpoint.saved_steps(tmp_path) == [5, 7]


def test_without_hard_links_the_newest_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", refuse)
    checkpoint.save(tmp_path, content(5), keep_last=1)
    assert not (tmp_path / "ckpt.pth").samefile(checkpoint.step_path(tmp_path, 5))
    assert checkpoint.load(tmp_path / "ckpt.pth")["step"] == 5


SAVE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoint import content
from training.saving import checkpoint
checkpoint.save(Path({run!r}), content(int(sys.argv[1])), keep_last=1)
"""


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_in_a_save_leaves_a_whole_newest(point: str, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, content(5), keep_last=1)
    script = SAVE.format(tests=str(Path(__file__).parent), run=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script, "10"], cwd=ROOT, env={"MATECONV_FAILPOINT": point, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == -9
    step = checkpoint.load(tmp_path / "ckpt.pth")["step"]
    assert step == (10 if point == "checkpoint.published" else 5)
    assert find_checkpoint(tmp_path / "ckpt.pth")[0]["step"] == step


def test_a_full_disk_is_named_and_leaves_the_previous_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, content(5), keep_last=1)
    monkeypatch.setenv("MATECONV_FAILPOINT", "checkpoint.write:2:raise=ENOSPC")
    monkeypatch.setattr("foundation.failpoints._hits", Counter())
    with pytest.raises(OSError) as caught:
        checkpoint.save(tmp_path, content(10), keep_last=1)
    assert caught.value.errno == errno.ENOSPC and "step_000010.pth" in str(caught.value)
    assert checkpoint.load(tmp_path / "ckpt.pth")["step"] == 5
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_000005.pth"]


class Reluctant(io.FileIO):
    """A file that takes at most `most` bytes at once, and none any more once it holds `room` of them."""

    most, room = 1 << 10, 1 << 40

    def write(self, data: Any) -> int:
        left = self.room - self.tell()
        if left <= 0:
            raise OSError(errno.ENOSPC, "full")
        return super().write(memoryview(data)[: min(self.most, left)])


def test_a_system_that_takes_large_tensors_in_pieces_gets_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux moves at most 2 GiB by one call."""
    monkeypatch.setattr(Path, "open", lambda path, mode, buffering=-1: Reluctant(path, mode))
    checkpoint.save(tmp_path, content(5), keep_last=1)
    torch.testing.assert_close(checkpoint.load(tmp_path / "ckpt.pth")["model"]["w"], torch.full((1009,), 5.0))


def test_a_disk_that_takes_a_part_and_then_no_more_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda path, mode, buffering=-1: Reluctant(path, mode))
    monkeypatch.setattr(Reluctant, "room", 3001)
    with pytest.raises(OSError) as caught:
        checkpoint.save(tmp_path, content(5), keep_last=1)
    assert caught.value.errno == errno.ENOSPC and "step_000005.pth" in str(caught.value)
    assert not list((tmp_path / "checkpoints").iterdir())
