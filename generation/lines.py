"""A user's file of texts: .txt with one a line, or .jsonl with the text under a key; faults stay in their row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from generation.prompts import is_text


@dataclass(frozen=True)
class Line:
    """One line of the file: its text, or what is wrong with it."""

    number: int
    """Counted from 1."""
    text: str | None
    error: str | None


def read_lines(path: Path, key: str, what: str, flag: str, keep_blank: bool = False) -> Iterator[Line]:
    """The lines of a .txt or .jsonl file that are not blank; with `keep_blank` the blank ones of a .txt file too.

    `what` and `flag` name the file in messages. `UserError` for other files and missing ones.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise UserError(f"{path}: {what} is .txt (a text a line) or .jsonl (with the key {key})")
    if not path.is_file():
        raise UserError(f"{path}: no such file; check {flag}")
    json_lines = path.suffix == ".jsonl"
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if raw.strip() or (keep_blank and not json_lines):
                yield _parse(number, raw.rstrip(b"\r\n"), key if json_lines else None)


def _parse(number: int, raw: bytes, key: str | None) -> Line:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return Line(number, None, f"not UTF-8 text at byte {error.start + 1}")
    if key is None:
        return Line(number, text, None)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Line(number, None, f"not JSON: {error}")
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str):
        return Line(number, None, f"needs an object with a text under {key!r}")
    if not is_text(found):
        return Line(number, None, f"the {key} holds half of a surrogate pair")
    return Line(number, found, None)
