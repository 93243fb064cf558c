"""What stands beside the shards: statistics, quarantined records, examples of rejected ones. Content only, no times."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from foundation import atomic
from foundation.failpoints import failpoint
from pipeline.decide import Decisions
from pipeline.parts import write_rows
from pipeline.publish import newline_bases
from pipeline.rejects import REJECTED_ROWS, Samples, merge
from pipeline.sources.base import Task
from pipeline.stats import statistics
from shards.manifest import TOKENIZER_DIRECTORY, Manifest
from tokenization.tokenizer import Tokenizer

STATS = "stats.json"
ROWS = "records.jsonl"
QUARANTINE, REJECTED = "quarantine", "rejected"

Row = dict[str, Any]


def write_byproducts(
    output: Path, manifest: Manifest, decisions: Decisions, tasks: list[Task], samples: Samples
) -> None:
    """Write stats.json, quarantine/ and rejected/ (`samples` of each reason); remove what an earlier version left of
    them. Memory: the rows of one part, and the examples."""
    failpoint("publish.before_stats", output)
    tokenizer = Tokenizer.load(output / TOKENIZER_DIRECTORY)
    atomic.write_json(output / STATS, statistics(manifest, decisions, tasks, tokenizer))
    names = [manifest.inputs[task.source].name for task in tasks]
    bases = newline_bases(tasks, decisions.summaries)
    _write_rows(output / QUARANTINE / ROWS, _rows("quarantine.jsonl", decisions, names, bases))
    _write_rows(output / REJECTED / ROWS, iter(merge(_rows(REJECTED_ROWS, decisions, names, bases), samples)))


def _rows(name: str, decisions: Decisions, names: list[str], bases: list[int]) -> Iterator[Row]:
    """All rows of that file of the parts, with the input's name and the line counted from 1 in the whole input."""
    for part, source, base in zip(decisions.parts, names, bases, strict=True):
        for row in part.rows(name):
            yield {"source": source, **row, "line": base + row["line"] + 1}


def _write_rows(path: Path, rows: Iterator[Row]) -> None:
    """Write `rows` as they come, atomically; without any, the file and its directory go."""
    first = next(rows, None)
    if first is None:
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return
    with atomic.atomic_path(path) as temporary:
        write_rows(temporary, chain([first], rows))
