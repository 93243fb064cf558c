"""Clusters of duplicates: how large they are, and the first few as examples."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.statistics.accounts import EXACT_DUPLICATE, NEAR_DUPLICATE

EXAMPLES = 100
"""Clusters shown of each kind."""
MEMBERS_SHOWN = 5


class Cluster(NamedTuple):
    """Documents that say the same. `kind`: near when any of them is only similar. `members`: part and place in the part
    of the kept document and of the next few, in input order."""

    kind: Literal["exact", "near"]
    size: int
    members: list[tuple[int, int]]


def find_clusters(
    originals: npt.NDArray[np.uint32], outcomes: npt.NDArray[np.uint8], borders: npt.NDArray[np.int64]
) -> tuple[list[Cluster], dict[int, int]]:
    """The first EXAMPLES clusters of each kind in input order, and how many clusters there are of each size. For n
    documents: `originals` (n,) the earlier document that each repeats (its own number if none), `outcomes` (n,);
    `borders`: the number of the first document of each part, and n."""
    repeats = (outcomes == EXACT_DUPLICATE) | (outcomes == NEAR_DUPLICATE)
    duplicates = np.flatnonzero(repeats).astype(np.uint32)
    heads = originals[originals[duplicates]]  # an exact duplicate may repeat what is itself similar to another
    order = np.argsort(heads, kind="stable")
    duplicates, heads = duplicates[order], heads[order]
    starts = np.flatnonzero(np.append(True, heads[1:] != heads[:-1])[: len(heads)])
    sizes = np.diff(np.append(starts, len(heads)))
    near = np.maximum.reduceat(outcomes[duplicates], starts) == NEAR_DUPLICATE if len(starts) else starts > 0
    clusters = []
    for chosen in sorted([*np.flatnonzero(near)[:EXAMPLES].tolist(), *np.flatnonzero(~near)[:EXAMPLES].tolist()]):
        first = int(starts[chosen])
        shown = duplicates[first : first + min(int(sizes[chosen]), MEMBERS_SHOWN - 1)]
        members = [_locate(int(number), borders) for number in (heads[first], *shown)]
        clusters.append(Cluster("near" if near[chosen] else "exact", int(sizes[chosen]) + 1, members))
    found, counts = np.unique(sizes + 1, return_counts=True)
    return clusters, dict(zip(found.tolist(), counts.tolist(), strict=True))


def _locate(number: int, borders: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Part and place in the part of a document's number."""
    part = int(np.searchsorted(borders, number, side="right")) - 1
    return part, number - int(borders[part])
