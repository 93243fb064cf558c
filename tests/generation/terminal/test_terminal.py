"""The terminal itself: line editing, its history, what may reach the screen, Ctrl-C."""

from __future__ import annotations

import io
import os
import pty
import signal
import stat
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from generation.terminal import screen
from generation.terminal.stopping import stoppable

ECHO = (
    "from generation.terminal.line_editing import line_editing\n"
    "from generation.terminal.typed import typed_texts\n"
    "with line_editing():\n"
    "    for text in typed_texts(input, print): print(f'<{text}>', flush=True)\n"
)


def _at_a_terminal(keys: bytes, root: Path, state: Path) -> str:
    """What a person sees who types `keys` at a program that repeats each text."""
    person, program = pty.openpty()
    environment = {**os.environ, "XDG_STATE_HOME": str(state), "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-c", ECHO], cwd=root, env=environment, stdin=program, stdout=program, stderr=program
    )
    os.close(program)
    os.write(person, keys)
    seen = b""
    while True:
        try:
            seen += (piece := os.read(person, 4096))
        except OSError:  # Linux: the program closed its end
            break
        if not piece:
            break
    os.close(person)
    assert process.wait(timeout=30) == 0, seen
    return seen.decode()


def test_lines_are_edited_and_remembered_by_the_next_run(repo_root: Path, tmp_path: Path) -> None:
    left, up, begin = b"\x1b[D", b"\x1b[A", b"\x01"
    assert "<the cat>" in _at_a_terminal(b"he cat" + begin + b"t\nq\n", repo_root, tmp_path)
    history = tmp_path / "mateconv" / "history"
    assert history.read_text().splitlines()[-2:] == ["the cat", "q"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "<the coat>" in _at_a_terminal(up + up + left + left + b"o\nq\n", repo_root, tmp_path)


def test_a_history_that_cannot_be_kept_is_not_mentioned(repo_root: Path, tmp_path: Path) -> None:
    (tmp_path / "mateconv").write_text("a file where the directory would be")
    seen = _at_a_terminal(b"the cat\nq\n", repo_root, tmp_path)
    assert "<the cat>" in seen and "Error" not in seen


def test_what_is_no_terminal_leaves_no_history(repo_root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", ECHO]
    result = subprocess.run(command, cwd=repo_root, env=environment, input=b"the cat\n", capture_output=True)
    assert b"<the cat>" in result.stdout and not list(tmp_path.iterdir())


def test_a_model_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    every = "".join(map(chr, range(0x3000)))
    shown = screen.visible(every)
    assert {c for c in shown if unicodedata.category(c) == "Cc"} == {"\n", "\t"}
    assert len(shown) == len(every) and screen.visible("\x1b]0;title\x07 床前 🙂") == "␛]0;title␇ 床前 🙂"

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, expected in ((Screen(), "␛[2J"), (io.StringIO(), "\x1b[2J")):
        monkeypatch.setattr(sys, "stdout", stream)
        screen.show("\x1b[2J")
        assert stream.getvalue() == expected


def test_ctrl_c_is_told_once_and_raised_the_second_time() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stoppable() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before
