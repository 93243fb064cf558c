"""Logging for the commands: plain lines on the terminal that do not tear the progress bar, and a log file."""

from __future__ import annotations

import logging
import sys
from collections import deque
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from foundation.console import escaped, silence

ROOT = "mateconv"


class _Memory(logging.Handler):
    """Keeps what is said before there is a log file."""

    MOST = 1000

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=self.MOST)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class _TqdmHandler(logging.Handler):
    """Writes above a running progress bar instead of through it. Whoever reads the lines may go away (`| head`): the
    work goes on, and the log file has them all the same."""

    def __init__(self, prints_results: bool) -> None:
        super().__init__()
        self._prints_results = prints_results

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if self._prints_results or record.levelno >= logging.WARNING else sys.stdout
        if stream is None:  # it was closed before Python began
            return
        line = self.format(record)
        try:
            _write(line, stream)
            stream.flush()  # a pipe's reader waits for it; and what cannot be written shows here, not when Python ends
        except (OSError, ValueError):  # ValueError: a closed file
            silence(stream)


def _write(line: str, stream: TextIO) -> None:
    try:
        tqdm.write(line, file=stream)
    except UnicodeEncodeError:  # another program's stream: those of our commands take every character
        tqdm.write(escaped(line, stream), file=stream)


def get_logger(name: str) -> logging.Logger:
    """The logger of one part, below the project's own root."""
    return logging.getLogger(f"{ROOT}.{name}")


def setup(logfile: Path | None = None, prints_results: bool = False) -> logging.Logger:
    """Send the project's messages to the terminal, and with times to `logfile` (appended) when it is given. It also has
    what was said since a setup without one.

    Warnings go to standard error; all messages do where the command `prints_results`, which programs may read.
    """
    root = logging.getLogger(ROOT)
    root.setLevel(logging.INFO)
    root.propagate = False
    earlier = [record for handler in root.handlers if isinstance(handler, _Memory) for record in handler.records]
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    console = _TqdmHandler(prints_results)
    console.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(console)
    if logfile is not None:
        logfile.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(logfile, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        for record in earlier:
            file.handle(record)
        root.addHandler(file)
    else:
        root.addHandler(_Memory())
    return root
