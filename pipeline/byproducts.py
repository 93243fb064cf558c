"""What stands beside the shards: statistics, quarantined records, examples of rejected ones. Content only, no times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation import atomic
from foundation.failpoints import failpoint
from pipeline.decide import Decisions
from pipeline.parts import write_rows
from pipeline.publish import newline_bases
from pipeline.sources.base import Task
from pipeline.stats import split_statistics, unigram_entropy
from shards.dataset import Dataset
from shards.manifest import SPLITS, Manifest

STATS = "stats.json"
ROWS = "records.jsonl"
QUARANTINE, REJECTED = "quarantine", "rejected"


def write_byproducts(output: Path, manifest: Manifest, decisions: Decisions, tasks: list[Task], examples: int) -> None:
    """Write stats.json, quarantine/ and rejected/; remove what an earlier version left of them."""
    failpoint("publish.before_stats", output)
    atomic.write_json(output / STATS, _statistics(output, manifest, decisions, tasks))
    bases = newline_bases(tasks, decisions.summaries)
    _write_rows(output / QUARANTINE / ROWS, _rows("quarantine.jsonl", decisions, tasks, bases, manifest))
    seen: dict[str, int] = {}
    rejected = []
    for row in _rows("rejected.jsonl", decisions, tasks, bases, manifest):
        seen[row["reason"]] = seen.get(row["reason"], 0) + 1
        if seen[row["reason"]] <= examples:
            rejected.append(row)
    _write_rows(output / REJECTED / ROWS, rejected)


def _rows(
    name: str, decisions: Decisions, tasks: list[Task], bases: list[int], manifest: Manifest
) -> list[dict[str, Any]]:
    """All rows of that name, with the input's name and the line counted from 1 in the whole file."""
    return [
        {"source": manifest.inputs[task.source].name, **row, "line": base + row["line"] + 1}
        for part, task, base in zip(decisions.parts, tasks, bases, strict=True)
        for row in part.rows(name)
    ]


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return
    with atomic.atomic_path(path) as temporary:
        write_rows(temporary, rows)


def _statistics(output: Path, manifest: Manifest, decisions: Decisions, tasks: list[Task]) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    for number, split in enumerate(SPLITS):
        entry = manifest.splits[split]
        lengths = [d["tokens"][s == number] for d, s in zip(decisions.documents, decisions.splits, strict=True)]
        splits[split] = split_statistics(entry, np.concatenate(lengths) if lengths else np.zeros(0, np.uint32))
        if split != SPLITS[0] and entry.tokens:
            splits[split]["unigram_entropy_nats"] = round(unigram_entropy(_token_counts(output, split, manifest)), 4)
    cleaned: dict[str, int] = {}
    for summary in decisions.summaries:
        for step, changed in summary.cleaned.items():
            cleaned[step] = cleaned.get(step, 0) + changed
    damaged = {
        manifest.inputs[task.source].name: summary.damage
        for task, summary in zip(tasks, decisions.summaries, strict=True)
        if summary.damage
    }
    return {
        "vocab_size": manifest.vocab_size,
        "splits": splits,
        "accounts": decisions.accounts.close(),
        "documents_changed_by_cleaning": cleaned,
        "damaged_inputs": damaged,
        "sources": {
            entry.name: account.close()
            for entry, account in zip(manifest.inputs, decisions.source_accounts, strict=False)
        },
    }


def _token_counts(output: Path, split: str, manifest: Manifest) -> npt.NDArray[np.int64]:
    counts = np.zeros(manifest.vocab_size, np.int64)
    for shard in Dataset.open(output, split).shards:
        counts += np.bincount(shard.tokens, minlength=manifest.vocab_size)
    return counts
