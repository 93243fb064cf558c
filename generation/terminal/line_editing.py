"""Line editing at the terminal, and the history of what was typed, kept between runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

KEPT = 1000  # lines


def history_file() -> Path:
    """Where typed lines are kept: in the user's state directory (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state") / "mateconv" / "history"


@contextlib.contextmanager
def line_editing() -> Iterator[None]:
    """Within the block `input` edits lines and remembers them, where there is a terminal and Python has readline.

    The history is the user's alone (mode 0600). Where it can't be kept, it is not: nobody is told.
    """
    try:
        import readline
    except ImportError:  # Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: nobody's home
        readline.read_history_file(history_file())
    try:
        yield
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            path = history_file()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.set_history_length(KEPT)
            readline.write_history_file(path)
