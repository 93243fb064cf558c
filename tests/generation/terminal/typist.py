"""Somebody who types: lines, ends of input and Ctrl-C, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def typist(lines: Iterable[str | BaseException], shown: list[str]) -> Callable[[str], str]:
    """Takes the place of `input`: the next of `lines`, raised where it is an error; prompts are added to `shown`. After
    the last one the input has ended."""
    source = iter(lines)

    def read(prompt: str) -> str:
        shown.append(prompt)
        line = next(source, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    return read
