"""Text on the screen: what a model writes must not steer the terminal."""

from __future__ import annotations

import sys

_SYMBOLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}  # Unicode's control pictures
_SYMBOLS |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}


def visible(text: str) -> str:
    """`text` with a visible sign for each control character but tab and line feed: escape sequences (ECMA-48) could
    move the cursor, retitle the window, or type for the user."""
    return text.translate(_SYMBOLS)


def show(text: str) -> None:
    """Print a piece of text at once, `visible` where it goes to a terminal."""
    print(visible(text) if sys.stdout.isatty() else text, end="", flush=True)
