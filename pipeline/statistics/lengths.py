"""Distributions of document lengths: quantiles, and a histogram whose bins grow by a quarter of an octave."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
EDGES = np.unique(np.floor(2.0 ** (np.arange(4 * 48) / 4)).astype(np.int64))
"""Lower borders of the bins: 1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 16, ... A bin ends before the next border."""


def quantiles(lengths: npt.NDArray[np.integer]) -> dict[str, int]:
    """Quantiles of `lengths` (n,) by name: p0 (the shortest) to p100 (the longest). Values that occur, no averages."""
    if not len(lengths):
        return {}
    values = np.quantile(lengths, QUANTILES, method="lower").tolist()
    return {f"p{round(q * 100)}": int(value) for q, value in zip(QUANTILES, values, strict=True)}


def histogram(lengths: npt.NDArray[np.integer]) -> list[int]:
    """Documents in each bin of EDGES, without the empty ones at the end. Empty documents count in the first bin."""
    bins = np.searchsorted(EDGES, np.maximum(lengths, 1), side="right") - 1
    return [int(count) for count in np.bincount(bins)] if len(lengths) else []


def describe(tokens: npt.NDArray[np.integer], sizes: npt.NDArray[np.integer]) -> dict[str, Any]:
    """The lengths of documents in `tokens` (n,) and in bytes of cleaned text, `sizes` (n,)."""
    return {
        "document_tokens": quantiles(tokens),
        "document_bytes": quantiles(sizes),
        "document_tokens_histogram": histogram(tokens),
    }
