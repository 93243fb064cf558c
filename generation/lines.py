"""A user's file of texts: .txt with one a line, or .jsonl with the text under a key; faults stay in their row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from generation.prompts import is_text


@dataclass(frozen=True)
class Line:
    """One line of the file: its text, or what is wrong with it."""

    number: int
    """Counted from 1."""
    text: str | None
    error: str | None


class BadLine(ValueError):
    """What is wrong with one line."""


def read_lines(path: Path, key: str, what: str, flag: str, keep_blank: bool = False) -> Iterator[Line]:
    """The lines of a .txt or .jsonl file that are not blank; with `keep_blank` the blank ones of a .txt file too.

    `what` and `flag` name the file in messages. `UserError` for other files and missing ones.
    """
    json_lines = is_json_lines(path, key, what, flag)
    for number, raw in raw_lines(path, keep_blank and not json_lines):
        try:
            text = decoded(number, raw)
            yield Line(number, text_under(key, json_object(text, key)) if json_lines else text, None)
        except BadLine as problem:
            yield Line(number, None, str(problem))


def is_json_lines(path: Path, key: str, what: str, flag: str) -> bool:
    """Whether the file is .jsonl, not .txt. `UserError` for other files and missing ones."""
    if path.suffix not in (".txt", ".jsonl"):
        raise UserError(f"{path}: {what} is .txt (a text a line) or .jsonl (with the key {key})")
    if not path.is_file():
        raise UserError(f"{path}: no such file; check {flag}")
    return path.suffix == ".jsonl"


def raw_lines(path: Path, keep_blank: bool = False) -> Iterator[tuple[int, bytes]]:
    """The numbers of lines, from 1, and their bytes without the end; blank ones only with `keep_blank`."""
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if keep_blank or raw.strip():
                yield number, raw.rstrip(b"\r\n")


def decoded(number: int, raw: bytes) -> str:
    """A line's text; a byte order mark before the first one goes. `BadLine` for what is not UTF-8."""
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 text at byte {error.start + 1}") from None


def json_object(text: str, keys: str) -> dict[str, Any]:
    """The object that a line holds; `BadLine` for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadLine(f"needs an object with {keys!r}")
    return value


def text_under(key: str, value: dict[str, Any]) -> str:
    """The text under a key; `BadLine` where there is none."""
    found = value.get(key)
    if not isinstance(found, str):
        raise BadLine(f"needs an object with a text under {key!r}")
    if not is_text(found):
        raise BadLine(f"the {key} holds half of a surrogate pair")
    return found
