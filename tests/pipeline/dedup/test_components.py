"""Union-find and buckets against plain versions."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.buckets import Buckets
from pipeline.dedup.components import Components


def edges(count: int) -> st.SearchStrategy[tuple[int, list[list[tuple[int, int]]]]]:
    """Batches of edges between `count` numbers."""
    number = st.integers(0, count - 1)
    return st.tuples(st.just(count), st.lists(st.lists(st.tuples(number, number), max_size=30), max_size=5))


EDGES = st.integers(1, 40).flatmap(edges)


def plain_labels(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """Least member of each component, by repeated relabelling."""
    labels = list(range(count))
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            least = min(labels[a], labels[b])
            changed |= labels[a] != least or labels[b] != least
            labels[a] = labels[b] = least
    return labels


@given(EDGES)
def test_components_are_those_of_all_edges(case: tuple[int, list[list[tuple[int, int]]]]) -> None:
    count, batches = case
    components = Components(count)
    joined: list[tuple[int, int]] = []
    for batch in batches:
        array = np.array(batch, np.uint32).reshape(-1, 2)
        components.union(array[:, 0], array[:, 1])
        joined += batch
        assert components.find(np.arange(count, dtype=np.uint32)).tolist() == plain_labels(count, joined)
    assert components.labels().tolist() == plain_labels(count, joined)


def test_long_chain() -> None:
    count = 100_003
    components = Components(count)
    numbers = np.arange(count, dtype=np.uint32)
    components.union(numbers[1:], numbers[:-1])
    assert not components.labels().any()


@given(
    st.lists(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3), min_size=2, max_size=2), max_size=50),
    st.integers(1, 9),
    st.sampled_from([8, 40, 200, 10**6]),
)
def test_buckets_hand_back_what_went_in(rows: list[list[int]], cut: int, bucket_bytes: int) -> None:
    keys = np.array(rows, np.uint32).reshape(-1, 2).T
    numbers = np.arange(keys.shape[1], dtype=np.uint32)
    with TemporaryDirectory() as directory:
        buckets = Buckets(Path(directory), 2, len(rows), bucket_bytes)
        for start in range(0, len(rows), cut):
            buckets.add(keys[:, start : start + cut], numbers[start : start + cut])
        found = list(buckets)
        assert len(found) == len(buckets) and not list(Path(directory).iterdir())
    half = len(found) // 2
    for series, group in enumerate((found[:half], found[half:])):
        entries = [pair for some, places in group for pair in zip(some.tolist(), places.tolist(), strict=True)]
        assert sorted(entries) == sorted(zip(keys[series].tolist(), numbers.tolist(), strict=True))
        owners = [set(some.tolist()) for some, _ in group]
        assert sum(map(len, owners)) == len(set().union(*owners)) if owners else True  # equal keys share a bucket
        assert all(places.tolist() == sorted(places.tolist()) for _, places in group)
