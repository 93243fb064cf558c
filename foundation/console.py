"""Standard output and standard error: their reader may go away (`| head`), and their encoding may lack characters."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TextIO

_ESCAPING = "mateconv.escaping"


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks as \\u8bd7, in pairs of surrogates: JSON that is written so means what it meant."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{unit.hex()}" for unit in (units[i : i + 2] for i in range(0, len(units), 2))), error.end


codecs.register_error(_ESCAPING, _escape)


def escape_what_they_lack() -> None:
    """Let standard output and standard error write any text, in any encoding; a choice of PYTHONIOENCODING holds."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=_ESCAPING)


def escaped(text: str, stream: TextIO) -> str:
    """The text as `stream` can write it."""
    encoding = stream.encoding or "ascii"
    return text.encode(encoding, _ESCAPING).decode(encoding)


def silence(stream: TextIO) -> None:
    """Send what is still written to a broken standard stream nowhere, so that nothing fails by it: not the next line,
    nor the end of Python, which writes what is left."""
    with contextlib.suppress(OSError, ValueError):  # a stand-in without a descriptor, or a closed file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
