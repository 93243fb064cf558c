"""Files and directories are old or new, never half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundation import atomic


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class Trace:
    """Records the system calls that matter, with the paths behind file descriptors, and passes them on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, ...]] = []
        fsync, replace, rename = os.fsync, os.replace, os.rename

        def traced_fsync(descriptor: int) -> None:
            self.calls.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
            fsync(descriptor)

        def traced_replace(source: Path, target: Path) -> None:
            self.calls.append(("rename", str(source), str(target)))
            replace(source, target)

        def traced_rename(source: Path, target: Path) -> None:
            self.calls.append(("rename", str(source), str(target)))
            rename(source, target)

        monkeypatch.setattr(os, "fsync", traced_fsync)
        monkeypatch.setattr(os, "replace", traced_replace)
        monkeypatch.setattr(os, "rename", traced_rename)


def test_contents(tmp_path: Path):
    atomic.write_bytes(tmp_path / "new/deep/a", b"\x00\xff")
    assert (tmp_path / "new/deep/a").read_bytes() == b"\x00\xff"
    atomic.write_text(tmp_path / "t", "诗\r\n")
    assert (tmp_path / "t").read_bytes() == "诗\r\n".encode()
    atomic.write_json(tmp_path / "j", {"b": 1, "a": "诗"})
    assert (tmp_path / "j").read_bytes() == '{\n  "b": 1,\n  "a": "诗"\n}\n'.encode()
    assert json.loads((tmp_path / "j").read_bytes()) == {"b": 1, "a": "诗"}
    assert names(tmp_path) == ["j", "new", "t"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
def test_order_of_a_file_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trace = Trace(monkeypatch)
    atomic.write_bytes(tmp_path / "file", b"x")
    temporary = trace.calls[0][1]
    assert Path(temporary).parent == tmp_path and Path(temporary).name.startswith(".tmp-")
    assert trace.calls == [
        ("fsync", temporary),
        ("rename", temporary, str(tmp_path / "file")),
        ("fsync", str(tmp_path)),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
def test_order_of_a_directory_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    final = tmp_path / "final"
    (final).mkdir()
    temporary = atomic.temporary_directory(tmp_path, "final")
    (temporary / "sub").mkdir()
    for name in ("a", "sub/b"):
        (temporary / name).write_text(name)
    trace = Trace(monkeypatch)
    atomic.replace_directory(temporary, final)
    synced = [call[1] for call in trace.calls[:4]]
    assert sorted(synced) == sorted(str(temporary / name) for name in ("", "a", "sub", "sub/b"))
    assert synced.index(str(temporary / "sub/b")) < synced.index(str(temporary / "sub")) < synced.index(str(temporary))
    assert trace.calls[4:] == [
        ("rename", str(final), str(tmp_path / ".tmp-old-final")),
        ("rename", str(temporary), str(final)),
        ("fsync", str(tmp_path)),
    ]
    assert names(tmp_path) == ["final"] and names(final) == ["a", "sub"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_exception_leaves_the_old_content_and_no_temporary(tmp_path: Path, error: BaseException):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error)), atomic.atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_content_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError) as caught:
        atomic.write_bytes(path, b"new")
    assert caught.value.errno == 5 and caught.value.filename == str(path)
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_names_the_path_that_could_not_be_written(tmp_path: Path):
    path = tmp_path / "file"
    with pytest.raises(OSError) as caught, atomic.atomic_path(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 100)
    assert caught.value.errno == 28 and caught.value.filename == str(path)
    assert names(tmp_path) == []


def test_a_refused_json_value_changes_nothing(tmp_path: Path):
    atomic.write_json(tmp_path / "j", [1])
    for value in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            atomic.write_json(tmp_path / "j", value)
    assert json.loads((tmp_path / "j").read_text()) == [1] and names(tmp_path) == ["j"]


CRASH = """
import os, signal, sys
from pathlib import Path
from foundation import atomic
root, hit = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def counting(function):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped
temporary = atomic.temporary_directory(root, "final")
(temporary / "a").write_text("new")
(temporary / "b").write_text("new")
os.rename, os.fsync, os.unlink = counting(os.rename), counting(os.fsync), counting(os.unlink)
atomic.replace_directory(temporary, root / "final")
"""


@pytest.mark.parametrize("hit", range(1, 9))
def test_a_directory_killed_at_any_call_is_old_or_new_after_recovery(tmp_path: Path, repo_root: Path, hit: int):
    """Calls: 3 syncs, 2 renames, 1 sync, the removal of the old files (two unlinks)."""
    final = tmp_path / "final"
    final.mkdir()
    for name in ("a", "b"):
        (final / name).write_text("old")
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), str(hit)], cwd=repo_root)
    assert done.returncode == -9
    atomic.recover_directory(final)
    content = {path.name: path.read_text() for path in final.iterdir()}
    assert content == ({"a": "old", "b": "old"} if hit <= 5 else {"a": "new", "b": "new"})
    atomic.remove_temporaries(tmp_path)
    assert names(tmp_path) == ["final"]


def test_a_failing_rename_puts_the_old_directory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    final = tmp_path / "final"
    final.mkdir()
    (final / "a").write_text("old")
    temporary = atomic.temporary_directory(tmp_path, "final")
    rename = os.rename

    def fail_for_new(source: Path, target: Path) -> None:
        if source == temporary:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_for_new)
    with pytest.raises(OSError):
        atomic.replace_directory(temporary, final)
    assert (final / "a").read_text() == "old" and not (tmp_path / ".tmp-old-final").exists()


def test_recovery_does_nothing_without_a_crash(tmp_path: Path):
    atomic.recover_directory(tmp_path / "final")
    assert names(tmp_path) == []


def test_removing_temporaries_spares_everything_else(tmp_path: Path):
    atomic.temporary_directory(tmp_path, "x")
    atomic.temporary_beside(tmp_path / "y").write_text("half")
    (tmp_path / ".tmp-old-z").mkdir()  # the only copy of z, should a crash have fallen between two renames
    (tmp_path / "data").mkdir()
    (tmp_path / "data/.tmp-not-mine").write_text("")
    for foreign in (".hidden", ".tmp-notes", ".tmp-notes-1-draft"):
        (tmp_path / foreign).write_text("")
    atomic.remove_temporaries(tmp_path)
    assert names(tmp_path) == [".hidden", ".tmp-notes", ".tmp-notes-1-draft", ".tmp-old-z", "data"]
    assert names(tmp_path / "data") == [".tmp-not-mine"]
    atomic.remove_temporaries(tmp_path / "absent")


def test_abandoned_temporaries_are_those_of_dead_processes_and_of_long_ago(tmp_path: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    then = time.time() - 2 * 86400
    for name, process in (("dead", dead.pid), ("alive", os.getpid()), ("ancient", os.getpid()), ("busy", os.getpid())):
        inside = tmp_path / f".tmp-{name}-{process}-0123abcd" / "inside"
        inside.mkdir(parents=True)
        if name == "busy":
            (inside / "file").write_text("just written, two levels below")
        if name in ("ancient", "busy"):
            os.utime(inside, (then, then))
            os.utime(inside.parent, (then, then))
    (tmp_path / ".tmp-old-z").mkdir()
    atomic.remove_abandoned(tmp_path)
    assert [name.split("-")[1] for name in names(tmp_path)] == ["alive", "busy", "old"]
    atomic.remove_temporaries(tmp_path)
    assert names(tmp_path) == [".tmp-old-z"]
