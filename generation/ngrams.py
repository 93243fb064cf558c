"""Which tokens would repeat a run of n tokens that a text already holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class NGramIndex:
    """Grows with a text, token by token, at constant cost each."""

    def __init__(self, size: int, tokens: Iterable[int]) -> None:
        assert size > 0
        self._size = size
        self._recent: tuple[int, ...] = ()  # the last size - 1 tokens, fewer at the start
        self._followers: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Note the next token of the text."""
        if len(self._recent) == self._size - 1:
            self._followers[self._recent].add(token)
        self._recent = (*self._recent, token)[-self._size + 1 :] if self._size > 1 else ()

    def banned(self) -> set[int]:
        """Tokens that would complete a run of n tokens for the second time."""
        if len(self._recent) < self._size - 1:
            return set()
        return self._followers.get(self._recent, set())
