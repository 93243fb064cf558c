"""Accounts: what became of every record, in records, bytes and tokens; they close exactly or the run stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.workspace.parts import Summary

KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE, LEFT_OUT_BY_WEIGHT = range(4)
"""Outcomes of a document that mapping handed on; the first is kept, the others are not published."""

DUPLICATES = {EXACT_DUPLICATE: "exact", NEAR_DUPLICATE: "near"}
LATE_REJECTIONS = {LEFT_OUT_BY_WEIGHT: "left_out_by_weight"}
"""Reasons of outcomes that are decided after mapping, in the account of duplicates and of rejected records."""

_Table = dict[str, list[int]]


class Accounts:
    """What became of every record. Every entry is [records, bytes, tokens]: bytes of extracted text (of the raw record
    for quarantined ones), tokens (terminators included) of what was kept or found a duplicate."""

    def __init__(self) -> None:
        self.records = 0
        self.extracted_bytes = 0
        self.kept = [0, 0, 0]
        self.duplicate: _Table = {}
        self.rejected: _Table = {}
        self.quarantined: _Table = {}

    def add(self, summary: Summary, documents: npt.NDArray[np.void], outcomes: npt.NDArray[np.integer]) -> None:
        """Add one part: its counters, its DOCUMENT records (n,) and the outcome of each (n,)."""
        self.records += summary.records
        self.extracted_bytes += summary.extracted_bytes
        size, tokens = documents["extracted_bytes"], documents["tokens"]
        for outcome in np.unique(outcomes).tolist():
            mask = outcomes == outcome
            sums = [int(mask.sum()), int(size[mask].sum(dtype=np.int64)), int(tokens[mask].sum(dtype=np.int64))]
            if outcome == KEPT:
                self.kept = [a + b for a, b in zip(self.kept, sums, strict=True)]
            elif outcome in DUPLICATES:
                _add(self.duplicate, {DUPLICATES[outcome]: sums})
            else:
                _add(self.rejected, {LATE_REJECTIONS[outcome]: sums})
        _add(self.rejected, summary.rejected)
        _add(self.quarantined, summary.quarantined)

    def close(self) -> dict[str, Any]:
        """The account as JSON. Asserts that nothing disappeared uncounted, in records and in bytes."""
        duplicate, rejected, quarantined = (_sum(t) for t in (self.duplicate, self.rejected, self.quarantined))
        outcomes = (self.kept, duplicate, rejected)
        assert self.records == sum(entry[0] for entry in outcomes) + quarantined[0]
        assert self.extracted_bytes == sum(entry[1] for entry in outcomes)
        return {
            "read": _entry([self.records, self.extracted_bytes + quarantined[1]]),
            "kept": _entry(self.kept, tokens=True),
            "duplicate": {**_entry(duplicate, tokens=True), "reasons": _reasons(self.duplicate, tokens=True)},
            "rejected": {**_entry(rejected), "reasons": _reasons(self.rejected)},
            "quarantined": {**_entry(quarantined), "reasons": _reasons(self.quarantined)},
        }


def _add(into: _Table, table: _Table) -> None:
    for reason, values in table.items():
        entry = into.setdefault(reason, [0, 0, 0])
        for place, value in enumerate(values):
            entry[place] += value


def _sum(table: _Table) -> list[int]:
    return [sum(column) for column in zip([0, 0, 0], *table.values(), strict=True)]


def _entry(value: list[int], tokens: bool = False) -> dict[str, int]:
    entry = {"records": value[0], "bytes": value[1]}
    return {**entry, "tokens": value[2]} if tokens else entry


def _reasons(table: _Table, tokens: bool = False) -> dict[str, dict[str, int]]:
    return {reason: _entry(table[reason], tokens) for reason in sorted(table)}
