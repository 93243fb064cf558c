"""Texts of files for people: plain text is one document, JSON lines hold one each; both may be compressed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from foundation.errors import UserError

OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
LINES = (".jsonl", ".ndjson")
LONGEST = 64 * 2**20
"""Bytes of the longest document: its tokens lie in memory at once."""


def read_texts(files: Sequence[Path], field: str) -> Iterator[str]:
    """The documents of `files`, in order: of `.jsonl` the text under `field` in each line, of others all they hold.

    `UserError`, naming file and line, for what is missing, damaged, longer than 64 MiB, or no text in UTF-8.
    """
    for file in files:
        opener = OPENERS.get(file.suffix)
        kind = file.with_suffix("").suffix if opener else file.suffix
        try:
            with opener(file, "rb") if opener else file.open("rb") as stream:
                yield from _of_lines(stream, file, field) if kind in LINES else [_whole(stream, file)]
        except IsADirectoryError:
            raise UserError(f"{file}: is a directory; give text files, or a dataset with --dataset") from None
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise UserError(f"{file}: truncated or damaged archive ({error}); get it again") from None


def _whole(stream: IO[bytes], file: Path) -> str:
    data = stream.read(LONGEST + 1)
    _check_length(data, str(file))
    return _text(data, str(file))


def _of_lines(stream: IO[bytes], file: Path, field: str) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        where = f"{file}:{number}"
        _check_length(line, where)
        if line.strip():
            yield _of_record(line, where, field)


def _of_record(line: bytes, where: str, field: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error}); correct the line") from None
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        raise UserError(f"{where}: has no text under {field!r}; name the key that has it with --text_field")
    text: str = record[field]
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: {field!r} holds half a surrogate pair, which is no text; correct the line") from None
    return text


def _check_length(data: bytes, where: str) -> None:
    if len(data) > LONGEST:
        raise UserError(
            f"{where}: one document of more than {LONGEST // 2**20} MiB; cut it into JSON lines, or make a dataset of "
            "it (python -m pipeline.process) and give that with --dataset"
        )


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}:{line}: not UTF-8 text ({error.reason}); save the file as UTF-8") from None
