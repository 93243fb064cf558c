"""Two runs never write to the same place."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.locks import DirectoryLock

pytest.importorskip("fcntl")

HOLD = """
import sys, time
from pathlib import Path
from foundation.locks import DirectoryLock
with DirectoryLock(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path: Path, repo_root: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run/.lock")], cwd=repo_root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_process_is_refused_and_told_whose_it_is(tmp_path: Path, owner: subprocess.Popen[str]):
    for _ in range(2):  # being refused must not hurt the owner's lock or its text
        with pytest.raises(UserError) as caught, DirectoryLock(tmp_path / "run/.lock", "again"):
            pass
        message = str(caught.value)
        assert str(tmp_path / "run") in message and f"process {owner.pid} " in message and "(training)" in message
        assert "\n" not in message


def test_a_killed_owner_s_lock_is_free(tmp_path: Path, owner: subprocess.Popen[str]):
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    with DirectoryLock(tmp_path / "run/.lock", "x"):
        assert f"process {os.getpid()} " in (tmp_path / "run/.lock").read_text()
        assert str(owner.pid) not in (tmp_path / "run/.lock").read_text().split(" on ")[0].split()


def test_it_is_free_again_after_use_and_after_an_exception(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(RuntimeError), DirectoryLock(tmp_path / "l", "x"):
            raise RuntimeError
    with DirectoryLock(tmp_path / "l", "x"), pytest.raises(UserError), DirectoryLock(tmp_path / "l", "y"):
        pass
    with DirectoryLock(tmp_path / "other", "x"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    monkeypatch.setattr("foundation.locks.fcntl.flock", failing(number))
    with pytest.raises(UserError, match=r"run: this file system has no locks .*another one"):
        DirectoryLock(tmp_path / "run/.lock", "x").__enter__()


def test_another_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foundation.locks.fcntl.flock", failing(errno.EIO))
    with pytest.raises(OSError, match=r"\.lock") as caught:
        DirectoryLock(tmp_path / "run/.lock", "x").__enter__()
    assert caught.value.errno == errno.EIO


def failing(number: int):
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock
