"""Runs: the chosen documents of a part, ready to be appended to a shard, a bounded number of tokens at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.workspace.parts import Part, Summary
from shards.documents import EXTRAS, RECORD, Rows

RUN_TOKENS = 1 << 20
"""A run holds about so many tokens (a document stays whole), so that memory stays bounded."""


@dataclass(frozen=True)
class Run:
    """n documents: their `tokens` back to back, and arrays (n,). `extras`: rows of the optional tables of a shard,
    whose `document` counts from the first of these documents."""

    tokens: npt.NDArray[np.generic]
    lengths: npt.NDArray[np.int32]
    records: Rows
    text_bytes: npt.NDArray[np.uint32]
    extras: dict[str, Rows]


def extras_of(summaries: list[Summary]) -> tuple[str, ...]:
    """The optional tables that any of the parts has; every shard of the dataset then has them."""
    return tuple(name for name in EXTRAS if any(f"{name}.npy" in summary.files for summary in summaries))


def read_runs(
    part: Part,
    documents: npt.NDArray[np.void],
    chosen: npt.NDArray[np.bool_],
    source: int,
    dtype: np.dtype[np.generic],
    extras: tuple[str, ...],
) -> Iterator[Run]:
    """The `chosen` (n,) of the part's `documents` (n,) of DOCUMENT, in order. Costs O(n + tokens chosen)."""
    tokens = part.tokens(dtype).view(np.ndarray)  # slices of a plain array are cheaper than of a map
    offsets = np.concatenate([[0], np.cumsum(documents["tokens"], dtype=np.int64)])
    tables = {name: _chosen_rows(part, name, chosen) for name in extras}
    done = 0  # chosen documents before `first`
    first = 0
    while first < len(documents):
        limit = offsets[first] + RUN_TOKENS
        last = max(first + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        mask = chosen[first:last]
        picked = documents[first:last][mask]
        if len(picked):
            records = np.zeros(len(picked), RECORD)
            records["source"] = source
            for name in ("label", "offset", "content_hash"):
                records[name] = picked[name]
            yield Run(
                _gather(tokens, offsets[first : last + 1], mask),
                picked["tokens"].astype(np.int32),
                records,
                picked["text_bytes"],
                {name: _window(table, done, done + len(picked)) for name, table in tables.items()},
            )
        done += len(picked)
        first = last


def _gather(
    tokens: npt.NDArray[np.generic], offsets: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.generic]:
    """The tokens of the chosen of neighbouring documents with borders `offsets` (n + 1,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    slices = [tokens[start:end] for start, end in offsets[edges].reshape(-1, 2).tolist()]
    return slices[0] if len(slices) == 1 else np.concatenate(slices)


def _chosen_rows(part: Part, name: str, chosen: npt.NDArray[np.bool_]) -> Rows:
    """The part's table without the rows of other documents; the chosen ones are numbered from 0."""
    table = part.array(name)
    if table is None:
        return np.zeros(0, EXTRAS[name][1])
    kept: Rows = table[chosen[table["document"]]]
    kept["document"] = (np.cumsum(chosen) - 1)[kept["document"]]
    return kept


def _window(table: Rows, first: int, last: int) -> Rows:
    """The rows of documents `first` … `last` - 1, numbered from 0."""
    low, high = np.searchsorted(table["document"], [first, last])
    window = table[low:high].copy()
    window["document"] -= first
    return window
