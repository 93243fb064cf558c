"""Messages reach the terminal, and a log file with times."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger(logs.ROOT)
    before = root.level, root.propagate, list(root.handlers)
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
    logs.setup(tmp_path / "new/train.log")
    logs.get_logger("part").info("later")
    assert len((tmp_path / "new/train.log").read_text(encoding="utf-8").splitlines()) == 3  # appended, not replaced
