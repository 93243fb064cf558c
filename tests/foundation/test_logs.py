"""Messages reach the terminal, and a log file with times."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger(logs.ROOT)
    before = root.level, root.propagate, list(root.handlers)
    root.handlers = []
    yield
    for handler in root.handlers:
        if handler not in before[2]:
            handler.close()
    root.level, root.propagate, root.handlers = before


def test_levels_streams_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for _ in range(2):  # a second setup must not double the lines
        logs.setup(tmp_path / "new/train.log")
    log = logs.get_logger("part")
    log.debug("hidden")
    log.info("诗 %d", 1)
    log.warning("careful")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("诗 1\n", "careful\n")
    lines = (tmp_path / "new/train.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["INFO 诗 1", "WARNING careful"]
    logs.setup(tmp_path / "new/train.log", prints_results=True)
    logs.get_logger("part").info("later")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "later\n")
    assert len((tmp_path / "new/train.log").read_text(encoding="utf-8").splitlines()) == 3  # appended, not replaced


def test_a_log_file_has_what_was_said_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    logs.setup()
    log = logs.get_logger("part")
    log.info("resuming at step %d", 4)
    log.warning("skipped")
    logs.setup(tmp_path / "first.log")
    log.info("one")
    logs.setup()  # the run is over, another begins
    log.info("between")
    logs.setup(tmp_path / "second.log")
    found = [(tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("first.log", "second.log")]
    said = [[line.split(" ", 2)[2] for line in lines] for lines in found]
    assert said == [["INFO resuming at step 4", "WARNING skipped", "INFO one"], ["INFO between"]]
    assert capsys.readouterr().out == "resuming at step 4\none\nbetween\n"


def test_what_a_stream_has_no_character_for_is_escaped_and_the_next_line_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="latin-1", newline="\n"))
    logs.setup(tmp_path / "log")
    for line in ("loss 3.2 → 3.1 é", "next", "caf\udce9.txt"):
        logs.get_logger("part").info(line)
    assert written.getvalue().decode("latin-1") == "loss 3.2 \\u2192 3.1 é\nnext\ncaf\\udce9.txt\n"
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" INFO ")[1] for line in lines] == ["loss 3.2 → 3.1 é", "next", r"caf\udce9.txt"]


SCRIPT = """
import sys
from pathlib import Path
from foundation import cli, logs
def main(argv):
    log = logs.setup(Path(argv[0]))
    print("begun", flush=True)
    sys.stdin.readline()
    for number in range(3):
        log.info("line %d", number)
    log.warning("careful")
    return 7
cli.run(main)
"""


def test_a_reader_that_goes_away_ends_no_work(tmp_path: Path, repo_root: Path):
    """As with `train.py | head`: the file has every line, standard error goes on, the exit code is the command's."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "train.log")],
        cwd=repo_root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "begun\n"
    process.stdout.close()
    process.stdin.write("go on\n")
    process.stdin.close()
    assert (process.stderr.read(), process.wait()) == ("careful\n", 7)
    process.stderr.close()
    assert (tmp_path / "train.log").read_text().count("line") == 3


def test_without_a_standard_output_the_file_has_the_lines(tmp_path: Path, repo_root: Path):
    code = f"import sys; sys.argv[1:] = [{str(tmp_path / 'train.log')!r}]; sys.stdin = open({os.devnull!r})\n"
    closed = subprocess.run(
        [sys.executable, "-c", f"{code}sys.stdout = None\n{SCRIPT}"],
        cwd=repo_root, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (closed.returncode, closed.stderr) == (7, "careful\n")
    assert (tmp_path / "train.log").read_text().count("line") == 3
