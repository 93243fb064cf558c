"""Find near duplicates among all documents: LSH candidates by an external sort, checked by their whole signatures.

What counts is the set of accepted pairs: documents that pairs connect are one cluster, of which the first in input
order is kept. Which pairs are looked at depends on the signatures alone, so the result is the same however the work was
cut or bucketed. Temporary files: 8 bytes a band and P bytes of signature a document.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.dedup.buckets import BUCKET_BYTES, Buckets
from pipeline.dedup.components import Components, Numbers
from pipeline.dedup.lsh import agreement, band_keys, choose_bands, needed_agreement
from pipeline.dedup.minhash import ARRAY, has_words
from pipeline.dedup.table import SignatureTable
from pipeline.settings.dedup import DedupSettings

NEIGHBOURS = 8
"""A document is compared with the first of those that share a band with it, and with the next so many of them: all
pairs of a small group, and of a large one no more than its size allows."""
_COMPARED = 1 << 15
"""Pairs compared at a time."""


class HasArrays(Protocol):
    """What is needed of a part."""

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """See `Part.array`."""
        ...


def near_duplicates(
    settings: DedupSettings,
    parts: Sequence[HasArrays],
    wanted: npt.NDArray[np.bool_],
    scratch: Path,
    bucket_bytes: int = BUCKET_BYTES,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers (in input order over all `parts`) of the `wanted` documents (n,) that resemble an earlier one, ascending,
    and for each the first document of its cluster. `scratch` is made anew and removed."""
    bands = choose_bands(settings.near_dedup_permutations, settings.near_dedup_threshold)
    needed = needed_agreement(settings.near_dedup_permutations, settings.near_dedup_threshold)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    table = SignatureTable(scratch / "signatures", settings.near_dedup_permutations)
    try:
        buckets = Buckets(scratch, bands.number, int(np.count_nonzero(wanted)), bucket_bytes)
        with tqdm(total=2 * len(wanted), desc="near duplicates", unit="doc", unit_scale=True) as bar:
            kept = [np.zeros(0, np.int64)]
            for numbers, values, size in _signatures(parts, wanted):
                rows = np.arange(table.count, table.count + len(values), dtype=np.uint32)
                table.append(values)
                buckets.add(band_keys(values, bands), rows)
                kept.append(numbers)
                bar.update(size)
            components = Components(table.count)
            for entries in buckets:
                _join(entries, components, table, needed)
                table.forget()
                bar.update(len(wanted) / len(buckets))
    finally:
        table.close()
        shutil.rmtree(scratch, ignore_errors=True)
    labels, documents = components.labels(), np.concatenate(kept)
    similar = np.flatnonzero(labels != np.arange(len(labels)))
    return documents[similar], documents[labels[similar]]


def _signatures(
    parts: Sequence[HasArrays], wanted: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], int]]:
    """Of each part the numbers (m,) and signatures (m, P) of the wanted documents that have words, and how many
    documents it has."""
    start = 0
    for part in parts:
        values = part.array(ARRAY)
        if values is None:
            continue  # a part without documents
        chosen = np.flatnonzero(wanted[start : start + len(values)])
        chosen_values = values[chosen]
        filled = has_words(chosen_values)
        yield start + chosen[filled], chosen_values[filled], len(values)
        start += len(values)
    assert start == len(wanted)


def _join(entries: npt.NDArray[np.uint64], components: Components, table: SignatureTable, needed: int) -> None:
    """Unite the documents of one sorted bucket that share a key and have `needed` values in common."""
    keys, rows = (entries >> np.uint64(32)).astype(np.uint32), entries.astype(np.uint32)
    same = keys[1:] == keys[:-1]
    grouped = np.flatnonzero(np.append(False, same) | np.append(same, False))
    keys, rows = keys[grouped], rows[grouped]
    for distance in range(NEIGHBOURS + 1):
        keys, rows = _still_apart(keys, rows, components)
        if not len(rows):
            return
        if distance == 0:
            new = np.append(True, keys[1:] != keys[:-1])
            heads = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))
            first, second = rows[heads[~new]], rows[~new]
        else:
            pairs = np.flatnonzero(keys[distance:] == keys[:-distance])
            first, second = rows[pairs], rows[pairs + distance]
        _compare(first, second, components, table, needed)


def _still_apart(keys: Numbers, rows: Numbers, components: Components) -> tuple[Numbers, Numbers]:
    """The groups of equal `keys` whose documents are not all in one component yet."""
    if not len(keys):
        return keys, rows
    roots = components.find(rows)
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    sizes = np.diff(np.append(starts, len(keys)))
    apart = np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts)
    mask = np.repeat(apart, sizes)
    return keys[mask], rows[mask]


def _compare(first: Numbers, second: Numbers, components: Components, table: SignatureTable, needed: int) -> None:
    for start in range(0, len(first), _COMPARED):
        a, b = first[start : start + _COMPARED], second[start : start + _COMPARED]
        apart = components.find(a) != components.find(b)
        a, b = a[apart], b[apart]
        similar = agreement(table.rows(a), table.rows(b)) >= needed
        components.union(a[similar], b[similar])
