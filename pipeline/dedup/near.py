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

from foundation.failpoints import failpoint
from pipeline.dedup.buckets import BUCKET_BYTES, Buckets
from pipeline.dedup.components import Components, Numbers
from pipeline.dedup.lsh import agreement, band_keys, choose_bands, needed_agreement
from pipeline.dedup.minhash import ARRAY, has_words
from pipeline.dedup.table import SignatureTable
from pipeline.settings.dedup import DedupSettings

NEIGHBOURS = 8
"""A document is compared with the first of those that share a band with it, and with the next so many of them: all
pairs of a small group, and of a large one no more than its size allows."""


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
) -> tuple[Numbers, Numbers]:
    """Numbers (in input order over all `parts`) of the `wanted` documents (n,) that resemble an earlier one, ascending,
    and for each the first document of its cluster. `scratch` is made anew and removed."""
    bands = choose_bands(settings.near_dedup_permutations, settings.near_dedup_threshold)
    needed = needed_agreement(settings.near_dedup_permutations, settings.near_dedup_threshold)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    table = SignatureTable(scratch / "signatures", settings.near_dedup_permutations)
    try:
        buckets = Buckets(scratch, bands.number, int(np.count_nonzero(wanted)), bucket_bytes)
        steps = len(parts) + len(buckets)
        with tqdm(total=steps, desc="near duplicates", unit="step") as bar:
            present = np.zeros(len(wanted), np.bool_)
            for numbers, values in _signatures(parts, wanted):
                rows = np.arange(table.count, table.count + len(values), dtype=np.uint32)
                table.append(values)
                buckets.add(band_keys(values, bands), rows)
                present[numbers] = True
                bar.update()
            components = Components(table.count)
            for keys, rows in buckets:
                _join(keys, rows, components, table, needed)
                failpoint("dedup.mid_search", scratch)
                bar.update()
    finally:
        table.close()
        shutil.rmtree(scratch, ignore_errors=True)
    labels, documents = components.labels(), np.flatnonzero(present).astype(np.uint32)
    similar = np.flatnonzero(labels != np.arange(len(labels), dtype=np.uint32)).astype(np.uint32)
    return documents[similar], documents[labels[similar]]


def _signatures(
    parts: Sequence[HasArrays], wanted: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Of each part the numbers (m,) and signatures (m, P) of the wanted documents that have words."""
    start = 0
    for part in parts:
        values = part.array(ARRAY)
        if values is None:  # a part without documents
            values = np.zeros((0, 16), np.uint8)
        chosen = np.flatnonzero(wanted[start : start + len(values)] & has_words(values))
        yield start + chosen, np.asarray(values if len(chosen) == len(values) else values[chosen])
        start += len(values)
    assert start == len(wanted)


def _join(keys: Numbers, rows: Numbers, components: Components, table: SignatureTable, needed: int) -> None:
    """Unite the documents of one bucket that share a key and have `needed` values in common. `rows` ascend."""
    slots = keys & np.uint32((1 << min(32, (4 * len(keys)).bit_length())) - 1)
    firsts = _first_in_slot(slots)
    known = keys[firsts] == keys  # else another key has the slot; in a slot of one key `firsts` are the first of a key
    later = np.flatnonzero(known & (firsts < np.arange(len(keys))))
    still = _compare(rows[firsts[later]], rows[later], components, table, needed)
    apart = np.append(np.flatnonzero(~known), later[still])
    if not len(apart):
        return
    chosen = _among(slots, slots[apart])
    entries = (keys[chosen].astype(np.uint64) << np.uint64(32)) | rows[chosen]
    entries.sort()
    _join_sorted((entries >> np.uint64(32)).astype(np.uint32), entries.astype(np.uint32), components, table, needed)


def _first_in_slot(slots: Numbers) -> npt.NDArray[np.uint32]:
    """For each entry the place of the first one of equal slot, shape (n,). Slots are below about 8 n."""
    table = np.empty(int(slots.max(initial=0)) + 1, np.uint32)
    table[slots[::-1]] = np.arange(len(slots), dtype=np.uint32)[::-1]  # of several writes the last one stays
    return table[slots]


def _among(slots: Numbers, wanted: Numbers) -> npt.NDArray[np.bool_]:
    """Which of `slots` (n,) are one of `wanted`, shape (n,)."""
    table = np.zeros(int(slots.max()) + 1, np.bool_)
    table[wanted] = True
    return table[slots]


def _join_sorted(keys: Numbers, rows: Numbers, components: Components, table: SignatureTable, needed: int) -> None:
    """The same for entries in the order of keys, then rows; whole groups of equal keys."""
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


def _compare(
    first: Numbers, second: Numbers, components: Components, table: SignatureTable, needed: int
) -> npt.NDArray[np.int64]:
    """Unite the pairs that have `needed` values in common; the places of those that are apart after that."""
    apart = np.flatnonzero(components.find(first) != components.find(second))
    for places in table.runs(first[apart], second[apart]):
        a, b = first[apart[places]], second[apart[places]]
        similar = agreement(table.rows(a), table.rows(b)) >= needed
        table.forget()
        components.union(a[similar], b[similar])
    return np.asarray(apart[components.find(first[apart]) != components.find(second[apart])])
