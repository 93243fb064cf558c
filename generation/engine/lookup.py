"""Prompt lookup: guessing a text's next tokens from what followed its last ones before (Saxena, 2023).

The guesses are read along with the last token. A guess that the sampler chooses itself saves a pass; the text is the
same with and without, since the sampler is asked at each place as it would be anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 3  # tokens that have to come again; shorter runs are tried where no longer one did


class Lookup:
    """Where the runs of a growing text occurred last, at constant cost a token."""

    def __init__(self, tokens: Sequence[int], count: int) -> None:
        assert count > 0
        self._tokens, self._count = tokens, count
        self._noted = 0  # runs that end before this place are noted
        self._after: dict[tuple[int, ...], int] = {}

    def guess(self) -> list[int]:
        """Up to `count` tokens that may follow the text as it is now."""
        tokens, end = self._tokens, len(self._tokens)
        for stop in range(self._noted + 1, end):
            for size in range(1, min(LONGEST, stop) + 1):
                self._after[tuple(tokens[stop - size : stop])] = stop
        self._noted = max(self._noted, end - 1)
        for size in range(min(LONGEST, end), 0, -1):
            place = self._after.get(tuple(tokens[end - size : end]))
            if place is not None:
                return list(tokens[place : place + self._count])
        return []
