"""Corpora for the benchmarks: records of JSONL files, once or repeated with distinct suffixes to a given size."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import orjson

from foundation.atomic import atomic_path


def records(paths: list[Path]) -> Iterator[dict[str, object]]:
    """The records of plain or gzipped JSONL files."""
    for path in paths:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from map(orjson.loads, file)


def make_corpus(inputs: list[Path], target: Path, size: int | None) -> None:
    """Write `size` bytes of plain JSONL (to the end of the last record) unless `target` already has them. Each copy of
    a record has a suffix of its own, so that deduplication keeps it. `size` None: each record once, as it is."""
    if target.exists() and (size is None or target.stat().st_size >= size):
        return
    written, copy = 0, 0
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        while True:
            for record in records(inputs):
                text = record["text"] if size is None else f"{record['text']} ({copy})"
                written += file.write(orjson.dumps({**record, "text": text}) + b"\n")
                if size is not None and written >= size:
                    return
            copy += 1
            if size is None:
                return


def split_corpus(corpus: Path, directory: Path, parts: int) -> None:
    """Cut a JSONL file into about equal files part0.jsonl, part1.jsonl, … at line borders."""
    size = corpus.stat().st_size
    with corpus.open("rb") as file:
        for part in range(parts):
            end = size * (part + 1) // parts
            with (directory / f"part{part}.jsonl").open("wb") as out:
                while file.tell() < end:
                    out.write(file.readline())
