"""Checkpoint files are believed only when sound: what is damaged or foreign is named, and an older one is used."""

from __future__ import annotations

import errno
import io
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from tests.training.test_checkpoint import content
from training.saving import checkpoint
from training.saving.resume import find_checkpoint


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


class Failing(io.FileIO):
    """A file on a device that fails behind the archive's directory of names."""

    def readinto(self, buffer: Any) -> int | None:
        if self.tell() < 1000:
            raise OSError(errno.EIO, "device")
        return super().readinto(buffer)


def test_what_cannot_be_read_now_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that went on from an older checkpoint would replace the sound newest one."""
    for step in (5, 10):
        checkpoint.save(tmp_path, content(step), keep_last=3)
    with monkeypatch.context() as patch:
        patch.setattr("zipfile.io.open", lambda path, mode: io.BufferedReader(Failing(path, "rb"), 64))
        with pytest.raises(OSError) as caught:
            find_checkpoint(tmp_path / "ckpt.pth")
        assert caught.value.errno == errno.EIO and "ckpt.pth" in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setattr("torch.load", lambda *_, **__: torch.empty(2**60))
        with pytest.raises(UserError, match=r"ckpt\.pth: .*memory"):
            find_checkpoint(tmp_path / "ckpt.pth")
    assert find_checkpoint(tmp_path / "ckpt.pth")[0]["step"] == 10


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
