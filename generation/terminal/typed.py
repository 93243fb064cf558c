"""What a person types: lines, and texts of several lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

LEAVE = ("exit", "quit", "q")
QUOTES = '"""'
PROMPT, CONTINUED = "> ", ". "

Read = Callable[[str], str]
"""Shows a prompt and gives the line that was typed, without its end."""
Write = Callable[[str], object]


class _Leave(Exception):
    """The person wants to go."""


def typed_texts(read: Read, write: Write) -> Iterator[str]:
    """The texts of `read`, without blanks around them and without empty ones, until exit, quit, q, end of input or
    Ctrl-C at the prompt.

    A line that ends in a backslash goes on in the next one, and one that begins with triple quotation marks up to the
    next such marks. Ctrl-C within such a text drops it.
    """
    while True:
        try:
            text = _text(read, write)
        except _Leave:
            return
        if text:
            yield text


def _text(read: Read, write: Write) -> str:
    """One text; empty for one that was given up."""
    line = _line(read, write, PROMPT)
    if line is None:
        raise _Leave
    if line.strip().lower() in LEAVE:
        raise _Leave
    first = line.lstrip()
    quoted = first.startswith(QUOTES)
    lines = [first.removeprefix(QUOTES)] if quoted else [line]
    while _is_open(lines[-1], quoted):
        following = _line(read, write, CONTINUED)
        if following is None:
            return ""
        lines.append(following)
    if quoted:
        return "\n".join([*lines[:-1], lines[-1].rstrip().removesuffix(QUOTES)]).strip()
    return "\n".join([*(each.rstrip()[:-1] for each in lines[:-1]), lines[-1]]).strip()


def _is_open(line: str, quoted: bool) -> bool:
    """Whether the text goes on after its last line."""
    end = line.rstrip()
    return not end.endswith(QUOTES) if quoted else end.endswith("\\")


def _line(read: Read, write: Write, prompt: str) -> str | None:
    """The next line that is text; None: Ctrl-C. `_Leave` at the end of the input."""
    while True:
        try:
            return read(prompt)
        except EOFError:
            write("\n")
            raise _Leave from None
        except KeyboardInterrupt:
            write("\n")
            return None
        except UnicodeDecodeError:
            write("That was not UTF-8 text; set the terminal to UTF-8.\n")
