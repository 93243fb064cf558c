"""The global decisions of publishing, over the small arrays of all parts: duplicates, splits, weights, accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.dedup.clusters import Cluster, find_clusters
from pipeline.dedup.exact import first_equal
from pipeline.dedup.near import near_duplicates
from pipeline.dedup.normalized import ARRAY as NORMALIZED
from pipeline.publishing.splits import TRAIN, assign_splits, repetitions, split_keys
from pipeline.sources.base import Task
from pipeline.sources.registry import source_for
from pipeline.statistics.accounts import EXACT_DUPLICATE, KEPT, LEFT_OUT_BY_WEIGHT, NEAR_DUPLICATE, Accounts
from pipeline.workspace.parts import Part, Summary
from shards.manifest import SPLITS

DROPPED = -1


class Documents(Sequence[npt.NDArray[np.void]]):
    """The DOCUMENT records of each part, read when asked for: all of them at once may not fit into memory."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, place: int) -> npt.NDArray[np.void]: ...
    @overload
    def __getitem__(self, place: slice) -> Documents: ...
    def __getitem__(self, place: int | slice) -> npt.NDArray[np.void] | Documents:
        return Documents(self._parts[place]) if isinstance(place, slice) else self._parts[place].documents()


@dataclass
class Decisions:
    """What happens to every document of every part. The lists have an entry a part, arrays one a document."""

    parts: list[Part]
    summaries: list[Summary]
    documents: Documents
    outcomes: list[npt.NDArray[np.uint8]]  # KEPT, or why it is not published (pipeline.statistics.accounts)
    splits: list[npt.NDArray[np.int8]]  # split number, DROPPED for what is not published
    repeats: list[npt.NDArray[np.uint16]] | None  # how often it is written into its split; None: once, all of them
    accounts: Accounts
    source_accounts: list[Accounts]
    clusters: list[Cluster] = field(default_factory=list)  # the first few clusters of duplicates
    cluster_sizes: dict[int, int] = field(default_factory=dict)  # size of a cluster -> clusters of that size


_REMEDIES = {
    "missing_text_field": "name the field that holds the text with --text_field",
    "unknown_label": "list the names of the classes with --labels, or read no labels with --label_field null",
    "label_not_an_integer": "read no labels with --label_field null",
    "wrong_number_of_fields": "is --csv_delimiter right?",
    "invalid_csv": "if quotes are plain characters there, give --csv_quotes false",
}
"""Reason of a bad record -> what may help when there are many."""


def check_bad_records(config: PipelineConfig, summaries: list[Summary], tasks: list[Task]) -> None:
    """Refuse to publish when too much could not be read, with the most common reasons: too many records, or too many
    bytes, which one record may hold where a bracket is missing. Bytes are compared where a record's are those of the
    file: not in archives and tables."""
    records = sum(summary.records for summary in summaries)
    bad = sum(summary.bad_records for summary in summaries)
    plain = [pair for pair in zip(summaries, tasks, strict=True) if _is_plain(pair[1])]
    size = sum(task.bytes for _, task in plain)
    lost = min(size, sum(count for summary, _ in plain for _, count in summary.quarantined.values()))
    if bad > config.max_bad_fraction * records:
        share = f"{bad} of {records} records"
    elif lost > config.max_bad_fraction * size:
        share = f"{bad} records with {lost} of the {size} bytes of plain files"
    else:
        return
    reasons: dict[str, int] = {}
    for summary in summaries:
        for reason, (number, *_) in summary.quarantined.items():
            reasons[reason] = reasons.get(reason, 0) + number
    common = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1])[:3])
    remedy = "".join(f"; {way_out}" for reason, way_out in _REMEDIES.items() if reason in reasons)
    raise UserError(
        f"{share} could not be read ({common}), more than max_bad_fraction"
        f" {config.max_bad_fraction:g}; nothing was published{remedy}"
    )


def _is_plain(task: Task) -> bool:
    return not task.options.compression and source_for(task.path, task.options).pieces == "bytes"


def decide(config: PipelineConfig, parts: list[Part], tasks: list[Task], scratch: Path) -> Decisions:
    """Read the small arrays of the `parts` of `tasks`, in input order, and decide. `scratch` is a directory for
    temporary files. Of equal or similar documents the first in input order is kept, whatever the splits of their
    inputs. Memory: about 60 bytes a document."""
    summaries = [part.summary() for part in parts]
    columns = _Columns(parts, summaries)
    outcomes, originals = _duplicates(config, parts, columns, scratch)
    clusters, sizes = find_clusters(originals, outcomes, columns.borders)
    splits = _splits(config, columns, tasks, outcomes == KEPT)
    repeats = _weigh(config, columns, tasks, splits)
    if repeats is not None:
        outcomes[(splits != DROPPED) & (repeats == 0)] = LEFT_OUT_BY_WEIGHT
        splits[repeats == 0] = DROPPED
    decisions = Decisions(
        parts, summaries, Documents(parts), columns.cut(outcomes), columns.cut(splits),
        None if repeats is None else columns.cut(repeats), Accounts(), [], clusters, sizes,
    )  # fmt: skip
    _account(decisions, tasks)
    return decisions


class _Columns:
    """What is decided by, of all documents in input order."""

    def __init__(self, parts: list[Part], summaries: list[Summary]) -> None:
        self.borders = np.cumsum([0, *(summary.documents for summary in summaries)])
        self.count = int(self.borders[-1])
        self.hashes = np.empty((self.count, 2), np.uint64)
        self.tokens = np.empty(self.count, np.uint32)
        for part, (start, end) in zip(parts, self.ranges(), strict=True):
            documents = part.documents()
            self.hashes[start:end] = np.ascontiguousarray(documents["content_hash"]).view("<u8").reshape(-1, 2)
            self.tokens[start:end] = documents["tokens"]

    def ranges(self) -> Iterator[tuple[int, int]]:
        """First and last + 1 document of each part."""
        return zip(self.borders[:-1].tolist(), self.borders[1:].tolist(), strict=True)

    def cut(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """`values` (n,) of all documents as views, one a part."""
        return [values[start:end] for start, end in self.ranges()]


def _duplicates(
    config: PipelineConfig, parts: list[Part], columns: _Columns, scratch: Path
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """The outcome of every document as far as duplicates go, and the number of the one it repeats (or its own)."""
    outcomes = np.full(columns.count, KEPT, np.uint8)
    originals = np.arange(columns.count, dtype=np.uint32)
    if config.exact_dedup:
        equal, firsts = first_equal(_compared(config, parts, columns))
        outcomes[equal], originals[equal] = EXACT_DUPLICATE, firsts
    if config.near_dedup:
        similar, earliest = near_duplicates(config, parts, outcomes == KEPT, scratch)
        outcomes[similar], originals[similar] = NEAR_DUPLICATE, earliest
    return outcomes, originals


def _compared(config: PipelineConfig, parts: list[Part], columns: _Columns) -> npt.NDArray[np.uint64]:
    """The hashes (n, 2) by which documents are equal."""
    if not config.exact_dedup_normalized:
        return columns.hashes
    hashes = columns.hashes.copy()
    for part, (start, end) in zip(parts, columns.ranges(), strict=True):
        normalized = part.array(NORMALIZED)
        if normalized is not None:  # else the part has no documents
            says = normalized.any(axis=1)  # what has no words is equal to its very copies only
            hashes[start:end][says] = normalized[says]
    return hashes


def _splits(
    config: PipelineConfig, columns: _Columns, tasks: list[Task], kept: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int8]:
    """The split of every document, DROPPED for those not `kept`: the one its input is assigned to, or by its hash."""
    splits = np.full(columns.count, DROPPED, np.int8)
    free = kept.copy()
    for task, (start, end) in zip(tasks, columns.ranges(), strict=True):
        if task.options.split is not None:
            splits[start:end][kept[start:end]] = SPLITS.index(task.options.split)
            free[start:end] = False
    splits[free] = assign_splits(
        split_keys(columns.hashes[free, 0], config.seed), columns.tokens[free],
        config.val_fraction, config.test_fraction, config.max_val_tokens,
    )  # fmt: skip
    return splits


def _weigh(
    config: PipelineConfig, columns: _Columns, tasks: list[Task], splits: npt.NDArray[np.int8]
) -> npt.NDArray[np.uint16] | None:
    """How often every document is written, None where no input has a weight. Weights concern train only."""
    if all(task.options.weight == 1 for task in tasks):
        return None
    repeats: npt.NDArray[np.uint16] = (splits != DROPPED).astype(np.uint16)
    for task, (start, end) in zip(tasks, columns.ranges(), strict=True):
        if task.options.weight != 1:
            train = start + np.flatnonzero(splits[start:end] == TRAIN)
            repeats[train] = repetitions(
                split_keys(columns.hashes[train, 1], config.seed, "weight"), task.options.weight
            )
    return repeats


def _account(decisions: Decisions, tasks: list[Task]) -> None:
    decisions.source_accounts = [Accounts() for _ in range(max((task.source for task in tasks), default=-1) + 1)]
    for place, task in enumerate(tasks):
        documents = decisions.documents[place]
        for accounts in (decisions.accounts, decisions.source_accounts[task.source]):
            accounts.add(decisions.summaries[place], documents, decisions.outcomes[place])
