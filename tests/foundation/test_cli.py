"""A command ends with a code and one line, never with a traceback."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.cli import describe_os_error, run
from foundation.errors import UserError


def outcome(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], effect: object) -> tuple[object, str]:
    def main(argv: list[str]) -> int:
        assert argv == ["--a", "1"]
        if isinstance(effect, BaseException):
            raise effect
        assert isinstance(effect, int)
        return effect

    monkeypatch.setattr(sys, "argv", ["prog", "--a", "1"])
    with pytest.raises(SystemExit) as stopped:
        run(main)
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("effect", "code", "shown"),
    [
        (0, 0, ""),
        (7, 7, ""),
        (UserError("file.x: broken; mend it"), 2, "error: file.x: broken; mend it\n"),
        (UserError("a\x1b]0;b\x07:\n  c"), 2, "error: a⟨U+001B⟩]0;b⟨U+0007⟩:\n  c\n"),
        (OSError(errno.ENOENT, "No such file", "a/b"), 1, "error: a/b: no such file or directory\n"),
        (OSError(errno.EACCES, "Denied", "a/b"), 1, "error: a/b: permission denied; check who owns the path\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)  # fmt: skip
def test_exit_codes_and_messages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], effect: object, code: int, shown: str
):
    assert outcome(monkeypatch, capsys, effect) == (code, shown)


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/.tmp-x", None, "out/x")
    code, shown = outcome(monkeypatch, capsys, error)
    assert code == 1 and shown.startswith("error: out/x: the disk is full; free some space") and shown.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def main(argv: list[str]) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


@pytest.mark.parametrize(
    "error",
    [OSError("words"), OSError(errno.EBADF, "Bad file descriptor", 99), OSError(errno.EIO, "x", b"bytes"), OSError()],
)
def test_every_os_error_can_be_described(error: OSError):
    described = describe_os_error(error)
    assert "\n" not in described and "Traceback" not in described


POEM = "床前 é 😀 caf\udce9"


@pytest.mark.parametrize(
    ("encoding", "errors", "shown"),
    [
        ("utf-8", "strict", "床前 é 😀 caf\\udce9".encode()),  # only what is no character at all is escaped
        ("gbk", "strict", "床前 é \\ud83d\\ude00 caf\\udce9".encode("gbk")),
        ("latin-1", "strict", "\\u5e8a\\u524d é \\ud83d\\ude00 caf\\udce9".encode("latin-1")),
        ("ascii", "surrogateescape", b"\\u5e8a\\u524d \\u00e9 \\ud83d\\ude00 caf\\udce9"),  # the locale C
        ("ascii", "replace", b"?? ? ? caf?"),  # somebody's choice
    ],
    ids=("utf-8", "gbk", "latin-1", "locale C", "a choice"),
)
def test_every_text_can_be_printed_in_every_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str, shown: bytes
):
    out, err = io.BytesIO(), io.BytesIO()

    def main(argv: list[str]) -> int:
        print(POEM)
        print(json.dumps(POEM, ensure_ascii=False))
        print(POEM, file=sys.stderr)
        raise UserError("床")

    for name, stream in (("stdout", out), ("stderr", err)):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline="\n"))
    with pytest.raises(SystemExit) as stopped:
        run(main)
    sys.stdout.flush()
    sys.stderr.flush()
    line, as_json = out.getvalue().splitlines()
    told = [shown, b"error: " + "床".encode(encoding, "backslashreplace" if errors != "replace" else errors)]
    assert (stopped.value.code, line, err.getvalue().splitlines()) == (2, shown, told)
    assert errors == "replace" or json.loads(as_json.decode(encoding)) == POEM  # escapes are JSON's own


SCRIPT = """
import sys
from foundation.cli import run
from foundation.errors import UserError
def main(argv):
    if argv == ["user"]:
        raise UserError("no")
    sys.stdin.read()
    for _ in range(100000):
        print("line")
    return 0
run(main)
"""


def test_in_a_real_process_no_traceback(repo_root: Path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, "user"], cwd=repo_root, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no\n")


@pytest.mark.parametrize("lines", [100000, 2])  # more than a pipe holds; so few that only the last flush writes them
def test_a_reader_that_went_away_is_no_error_message(repo_root: Path, lines: int):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("100000", f"{lines}")],
        cwd=repo_root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.close()  # it waits for that
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_nobody_reads_the_error_and_the_code_tells_it(repo_root: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.read()\n{SCRIPT}", "user"],
        cwd=repo_root, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stderr is not None
    process.stderr.close()
    process.stdin.close()
    assert process.wait() == 2
