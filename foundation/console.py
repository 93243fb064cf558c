"""Standard output and standard error, whose reader may go away: `| head`, a pipe's other end, a closed terminal."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


def silence(stream: TextIO) -> None:
    """Send what is still written to a broken standard stream nowhere, so that nothing fails by it: not the next line,
    nor the end of Python, which writes what is left."""
    with contextlib.suppress(OSError, ValueError):  # a stand-in without a descriptor, or a closed file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
