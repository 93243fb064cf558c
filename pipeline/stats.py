"""Statistics of a dataset: accounts that close, lengths, compression, entropy. Pure functions of its content."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.parts import Summary
from shards.manifest import SplitEntry

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def unigram_entropy(counts: npt.NDArray[np.integer]) -> float:
    """Entropy in nats of the distribution given by token counts (V,): the loss of the best model without context."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum()) if len(shares) else 0.0


def add_tables(into: dict[str, list[int]], table: dict[str, list[int]]) -> None:
    """Add a table of reason -> [records, bytes]."""
    for reason, (records, size) in table.items():
        entry = into.setdefault(reason, [0, 0])
        entry[0] += records
        entry[1] += size


class Accounts:
    """What became of every record. `close` asserts that nothing disappeared uncounted."""

    def __init__(self) -> None:
        self.records = 0
        self.extracted_bytes = 0
        self.kept = [0, 0]
        self.duplicate = [0, 0]
        self.rejected: dict[str, list[int]] = {}
        self.quarantined: dict[str, list[int]] = {}

    def add(self, summary: Summary, extracted: npt.NDArray[np.integer], duplicate: npt.NDArray[np.bool_]) -> None:
        """Add one part: its counters, and of its documents the extracted bytes and which are duplicates."""
        self.records += summary.records
        self.extracted_bytes += summary.extracted_bytes
        for entry, mask in ((self.kept, ~duplicate), (self.duplicate, duplicate)):
            entry[0] += int(mask.sum())
            entry[1] += int(extracted[mask].sum(dtype=np.int64))
        add_tables(self.rejected, summary.rejected)
        add_tables(self.quarantined, summary.quarantined)

    def close(self) -> dict[str, Any]:
        """The account as JSON; every entry is records and bytes (of extracted text, raw bytes for quarantined)."""
        rejected = [sum(column) for column in zip([0, 0], *self.rejected.values(), strict=True)]
        quarantined = [sum(column) for column in zip([0, 0], *self.quarantined.values(), strict=True)]
        outcomes = (self.kept, self.duplicate, rejected)
        assert self.records == sum(entry[0] for entry in outcomes) + quarantined[0]
        assert self.extracted_bytes == sum(entry[1] for entry in outcomes)

        def entry(value: list[int]) -> dict[str, int]:
            return {"records": value[0], "bytes": value[1]}

        return {
            "read": entry([self.records, self.extracted_bytes + quarantined[1]]),
            "kept": entry(self.kept),
            "duplicate": entry(self.duplicate),
            "rejected": {**entry(rejected), "reasons": {k: entry(v) for k, v in sorted(self.rejected.items())}},
            "quarantined": {
                **entry(quarantined),
                "reasons": {k: entry(v) for k, v in sorted(self.quarantined.items())},
            },
        }


def split_statistics(entry: SplitEntry, lengths: npt.NDArray[np.integer]) -> dict[str, Any]:
    """Counts of one split and the quantiles of its document lengths in tokens."""
    quantiles = np.quantile(lengths, QUANTILES, method="lower").tolist() if len(lengths) else []
    return {
        "documents": entry.documents,
        "tokens": entry.tokens,
        "text_bytes": entry.text_bytes,
        "bytes_per_token": round(entry.text_bytes / entry.tokens, 4) if entry.tokens else None,
        "document_tokens": {f"p{int(q * 100)}": int(v) for q, v in zip(QUANTILES, quantiles, strict=False)},
    }
