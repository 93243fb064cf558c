"""What stands beside the shards: statistics, unreadable records, examples of rejected and duplicate documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from foundation import atomic
from foundation.failpoints import failpoint
from pipeline.mapping.rejects import REJECTED_ROWS, Samples, merge
from pipeline.publishing.decide import Decisions
from pipeline.publishing.layout import CLUSTERS, DUPLICATES, QUARANTINE, REJECTED, ROWS, STATS
from pipeline.publishing.publish import newline_bases
from pipeline.sources.base import Task
from pipeline.statistics.stats import statistics
from pipeline.workspace.parts import write_rows
from shards.manifest import Manifest
from tokenization.tokenizer import Tokenizer

EXCERPT_TOKENS, EXCERPT_CHARS = 600, 2000
"""Of a duplicate document the first tokens are decoded, and at most so many characters shown."""

Row = dict[str, Any]
_NUMBERS = re.compile(r"\[\n[\s\d,]+\]")  # no string matches: JSON escapes its line feeds


def write_byproducts(
    output: Path,
    manifest: Manifest,
    tokenizer: Tokenizer,
    decisions: Decisions,
    tasks: list[Task],
    samples: Samples,
) -> None:
    """Write stats.json, quarantine/, duplicates/ and rejected/ (`samples` of each reason); remove what an earlier
    version left of them. Memory: the examples."""
    failpoint("publish.before_stats", output)
    atomic.write_text(output / STATS, _encode(statistics(manifest, decisions, tasks, tokenizer)))
    names = [manifest.inputs[task.source].name for task in tasks]
    bases = newline_bases(tasks, decisions.summaries)
    _write_rows(output / QUARANTINE / ROWS, _rows("quarantine.jsonl", decisions, names, bases))
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    _write_rows(output / DUPLICATES / CLUSTERS, _clusters(decisions, names, tokenizer, dtype))
    _write_rows(output / REJECTED / ROWS, iter(merge(_rows(REJECTED_ROWS, decisions, names, bases), samples)))


def _encode(stats: Row) -> str:
    """Indented JSON, lists of numbers on one line each: a histogram is looked at as a whole."""
    text = json.dumps(stats, indent=1, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(lambda found: "[" + ", ".join(found[0][1:-1].split()).replace(",,", ",") + "]", text) + "\n"


def _rows(name: str, decisions: Decisions, names: list[str], bases: list[int]) -> Iterator[Row]:
    """All rows of that file of the parts, with the input's name and the line counted from 1 in the whole input."""
    for part, source, base in zip(decisions.parts, names, bases, strict=True):
        for row in part.rows(name):
            yield {"source": source, **row, "line": base + row["line"] + 1}


def _clusters(
    decisions: Decisions, names: list[str], tokenizer: Tokenizer, dtype: np.dtype[np.generic]
) -> Iterator[Row]:
    """The clusters of duplicates that are shown: their first documents in input order, the kept one first."""
    wanted: dict[int, set[int]] = {}
    for cluster in decisions.clusters:
        for place, number in cluster.members:
            wanted.setdefault(place, set()).add(number)
    shown: dict[tuple[int, int], Row] = {}
    for place, numbers in wanted.items():  # part by part, each read once
        records, tokens = decisions.documents[place], decisions.parts[place].tokens(dtype)
        ends = np.cumsum(records["tokens"], dtype=np.int64)
        for number in numbers:
            length, end = int(records["tokens"][number]), int(ends[number])
            text = tokenizer.decode(tokens[end - length : end][:EXCERPT_TOKENS].tolist())[:EXCERPT_CHARS]
            offset = int(records["offset"][number])
            shown[place, number] = {"source": names[place], "offset": offset, "tokens": length, "text": text}
    for cluster in decisions.clusters:
        members = [shown[member] for member in cluster.members]
        yield {"kind": cluster.kind, "size": cluster.size, "members": members}


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
