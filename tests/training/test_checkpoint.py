"""Checkpoint files: whole or absent at every instant, and believed only when sound."""

from __future__ import annotations

import errno
import io
import logging
import pickle
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import UserError
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


def flip(path: Path, place: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.unlink()  # a new file: the hard link keeps the old bytes
    path.write_bytes(data)


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("damage", [flip, truncate])
def test_damaged_newest_is_named_skipped_and_the_one_before_is_used(
    damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (5, 10):
        checkpoint.save(tmp_path, content(step), keep_last=3)
    damage(tmp_path / "ckpt.pth")
    damage(checkpoint.step_path(tmp_path, 10))
    with capture(caplog):
        loaded, path = find_checkpoint(tmp_path / "ckpt.pth")
    assert loaded["step"] == 5 and path == checkpoint.step_path(tmp_path, 5)
    assert "ckpt.pth" in caplog.text and "step_000010.pth" in caplog.text and "step_000005.pth" in caplog.text


def test_whatever_byte_is_changed_the_file_is_refused_or_reads_as_it_was(tmp_path: Path) -> None:
    """Every fifth byte, cuts and zeroed ends: never another exception, never other content."""
    small = {**content(5), "model": {"w": torch.arange(31.0), "b": torch.ones(3)}}
    path = checkpoint.save(tmp_path, small, keep_last=1)
    data, refused = path.read_bytes(), 0
    damaged = [data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :] for place in range(0, len(data), 5)]
    damaged += [data[:place] for place in range(0, len(data), 101)]
    damaged += [data[:place] + bytes(len(data) - place) for place in range(0, len(data) - 30, 101)]
    for number, changed in enumerate(damaged):
        path.write_bytes(changed)
        try:
            loaded = checkpoint.load(path)
        except UserError as error:
            refused += 1
            assert path.name in str(error)
        else:
            assert torch.equal(loaded["model"]["w"], torch.arange(31.0)), number
            assert {key: value for key, value in loaded.items() if key in small and key != "model"} == {
                key: value for key, value in small.items() if key != "model"
            }
    assert refused > len(damaged) / 2


def test_a_checkpoint_that_lacks_a_part_it_was_saved_with_is_damaged(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, {**content(5), "ema": {"weights": {}}}, keep_last=1)
    loaded = torch.load(path, weights_only=True)
    del loaded["ema"]
    torch.save(loaded, path)
    with pytest.raises(UserError, match="incomplete, lacks ema"):
        checkpoint.load(path)


def test_damage_to_the_link_alone_costs_nothing(tmp_path: Path) -> None:
    for step in (5, 10):
        checkpoint.save(tmp_path, content(step), keep_last=3)
    flip(tmp_path / "ckpt.pth")
    assert find_checkpoint(tmp_path / "ckpt.pth")[0]["step"] == 10


def test_when_all_are_damaged_each_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, content(5), keep_last=1)
    truncate(tmp_path / "ckpt.pth")
    truncate(checkpoint.step_path(tmp_path, 5))
    with pytest.raises(UserError, match=r"(?s)no checkpoint of this run can be used.*ckpt\.pth.*step_000005\.pth"):
        find_checkpoint(tmp_path / "ckpt.pth")


class Attack:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def test_a_pickle_that_attacks_is_refused_and_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "mateconv-checkpoint", "x": Attack()}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Attack()))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(UserError, match=name):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_foreign_files_are_named(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not a checkpoint of this program"):
        checkpoint.load(tmp_path / "other.pth")
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "missing.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(UserError, match=r"zip\.pth"):
        checkpoint.load(tmp_path / "zip.pth")


def capture(caplog: pytest.LogCaptureFixture) -> Any:
    """Let caplog see the project's logger, which does not propagate once a command has set it up."""
    return Capture(caplog)


class Capture:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.handler = caplog.handler

    def __enter__(self) -> None:
        self.logger = logging.getLogger("mateconv")
        self.propagates, self.logger.propagate = self.logger.propagate, False
        self.logger.addHandler(self.handler)

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self.handler)
        self.logger.propagate = self.propagates
