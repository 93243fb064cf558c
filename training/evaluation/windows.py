"""Documents of any length in rows of T tokens: cut into windows that may overlap, and packed with their borders.

B rows a batch, T tokens a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from shards.best_fit import best_fit
from shards.token_stream import IGNORE, PackedBatch
from training.evaluation.documents import Document, Integers

ROWS_AT_ONCE = 64
"""Rows that are filled together: with more, hardly less of them stays empty."""


class Window(NamedTuple):
    """A run of a document; the targets before `counted` are read as context and counted in the window before."""

    tokens: Integers  # (n + 1,) n inputs; the targets are one further
    counted: int


def windows_of(document: Document, length: int, stride: int) -> Iterator[Window]:
    """Every target of `document` once, in windows of at most `length` inputs that begin `stride` apart.

    With `stride` below `length`, all but the first targets have at least `length - stride` tokens of context (see
    https://huggingface.co/docs/transformers/perplexity).
    """
    targets = len(document.tokens) - 1
    done, start = document.given - 1, 0
    while done < targets:
        end = min(start + length, targets)
        if end > done:
            yield Window(document.tokens[start : end + 1], done - start)
            done = end
        start += stride


def packed(windows: Iterable[Window], length: int, batch_size: int) -> Iterator[PackedBatch]:
    """`windows` in batches of up to `batch_size` rows of at most `length` tokens, each window a piece of its own."""
    held: list[Window] = []
    size = 0
    for window in windows:
        held.append(window)
        size += len(window.tokens) - 1
        if size >= ROWS_AT_ONCE * length:
            yield from _rows(held, length, batch_size)
            held, size = [], 0
    if held:
        yield from _rows(held, length, batch_size)


def _rows(windows: list[Window], length: int, batch_size: int) -> Iterator[PackedBatch]:
    row_of = best_fit(np.array([len(window.tokens) - 1 for window in windows], np.int64), length)
    rows: list[list[Window]] = [[] for _ in range(int(row_of.max()) + 1)]
    for window, row in zip(windows, row_of.tolist(), strict=True):
        rows[row].append(window)
    for first in range(0, len(rows), batch_size):
        yield _batch(rows[first : first + batch_size])


def _batch(rows: list[list[Window]]) -> PackedBatch:
    """As wide as the fullest row. The rest of the others holds zeros that are not predicted, a piece of their own."""
    width = max(sum(len(window.tokens) - 1 for window in row) for row in rows)
    inputs = np.zeros((len(rows), width), np.int64)
    targets = np.full((len(rows), width), IGNORE, np.int64)
    borders = []
    for number, row in enumerate(rows):
        place = 0
        for window in row:
            count = len(window.tokens) - 1
            inputs[number, place : place + count] = window.tokens[:-1]
            targets[number, place + window.counted : place + count] = window.tokens[1 + window.counted :]
            borders.append(number * width + place)
            place += count
        if place < width:
            borders.append(number * width + place)
    borders.append(len(rows) * width)
    return PackedBatch(inputs, targets, np.array(borders, np.int32))
