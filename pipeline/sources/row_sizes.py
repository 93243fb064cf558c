"""How large the rows of Arrow tables are once repeated values are written out, and batches of rows by it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

BATCH_BYTES = 1 << 20
_ROW = 16
"""Bytes that every row counts for, so that empty ones fill batches, too."""

Sizes = npt.NDArray[np.int64]


def evenly(parts: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Tables of BATCH_BYTES, or up to a row more, from record batches of any size: the same rows in their order,
    whatever the borders between the `parts`. Both are pairs with the number of their first row."""
    held: list[Any] = []
    begin = stored = 0
    for first, part in parts:
        begin = begin if held else first
        held.append(part)
        stored += part.nbytes
        if stored >= BATCH_BYTES:  # sizes are taken, and rows put together, once for many small parts
            table, ends = _joined(held)
            for start, end in pairwise(ends):
                yield begin + start, table.slice(start, end - start)
            begin += ends[-1]
            held = table.slice(ends[-1]).to_batches()
            stored = sum(batch.nbytes for batch in held)
    if held:
        table, ends = _joined(held)
        for start, end in pairwise([*ends, table.num_rows]):
            if start < end:
                yield begin + start, table.slice(start, end - start)


def _joined(parts: list[Any]) -> tuple[Any, list[int]]:
    """The parts as one table, and the rows that it is to be cut at: 0 and each that follows BATCH_BYTES."""
    import pyarrow as pa

    table = pa.Table.from_batches(parts).combine_chunks()
    sizes = [row_sizes(batch) for batch in table.to_batches()]
    totals = np.cumsum(np.concatenate([np.zeros(0, np.int64), *sizes]) + _ROW)
    cuts, passed = [0], 0
    while (row := int(np.searchsorted(totals, passed + BATCH_BYTES))) < len(totals):
        cuts.append(row + 1)
        passed = int(totals[row])
    return table, cuts


def row_sizes(batch: Any) -> Sizes:
    """Bytes of each row (n,) of a record batch."""
    return sum((_sizes(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))


def _sizes(array: Any) -> Sizes:
    """Bytes of each value (n,): of a dictionary's those it stands for, of those of fixed size their share."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        values = np.concatenate([_sizes(array.dictionary), _sizes(pa.nulls(1, kind.value_type))])
        indices: Sizes = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        return values[indices]
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return 4 + _lengths(pc.binary_length(array))
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return 8 + _lengths(pc.binary_length(array))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        ends: Sizes = np.cumsum(np.concatenate([np.zeros(1, np.int64), _sizes(array.flatten())]))
        lengths = _lengths(pc.list_value_length(array))
        last = np.cumsum(lengths)
        sizes: Sizes = 8 + ends[last] - ends[last - lengths]
        return sizes
    if pa.types.is_struct(kind):
        return sum((_sizes(field) for field in array.flatten()), np.zeros(len(array), np.int64))
    return np.full(len(array), -(-array.nbytes // max(1, len(array))), np.int64)


def _lengths(array: Any) -> Sizes:
    lengths: Sizes = np.maximum(array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64), 0)
    return lengths  # none is negative, whatever a damaged file's offsets say
