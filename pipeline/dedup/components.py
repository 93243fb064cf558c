"""Union-find over document numbers, for whole arrays of edges at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint32]


class Components:
    """Sets of the numbers 0 to n - 1. A set is known by its least member, so the result does not depend on the order of
    the edges. 4 n bytes; each call works on what it was given, with pointer jumping (Shiloach and Vishkin, 1982)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count, dtype=np.uint32)

    def find(self, members: Numbers) -> Numbers:
        """The least member of the set of each of `members`, shape (n,)."""
        roots = self._parent[members]
        while not np.array_equal(up := self._parent[roots], roots):
            roots = up
            self._parent[members] = roots
        return roots

    def union(self, first: Numbers, second: Numbers) -> None:
        """Join the sets of first[i] and second[i] for every i."""
        while len(first):
            a, b = self.find(first), self.find(second)
            apart = a != b
            first, second = np.minimum(a, b)[apart], np.maximum(a, b)[apart]
            np.minimum.at(self._parent, second, first)  # a root gets the least of its new parents; the rest next time
            self._flatten(second)

    def labels(self) -> Numbers:
        """The least member of the set of every number, shape (n,)."""
        self._flatten(np.arange(len(self._parent), dtype=np.uint32))
        return self._parent

    def _flatten(self, members: Numbers) -> None:
        while True:
            parents = self._parent[members]
            above = self._parent[parents]
            if np.array_equal(above, parents):
                return
            self._parent[members] = above
