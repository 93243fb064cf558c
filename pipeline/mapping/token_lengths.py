"""The filter that needs tokens: reject documents of too few or too many, once they are encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.mapping.structured import Encoded


class TokenLengths:
    """Reasons: `too_few_tokens`, `too_many_tokens`. The terminator does not count."""

    def __init__(self, minimum: int | None, maximum: int | None, terminator: int) -> None:
        self._minimum, self._maximum, self._terminator = minimum, maximum, terminator

    def judge(self, lengths: npt.NDArray[np.int64]) -> dict[int, str]:
        """The reason for each place to drop, from the lengths (n,) with terminators."""
        result: dict[int, str] = {}
        own = lengths - self._terminator
        if self._minimum is not None:
            result |= dict.fromkeys(np.flatnonzero(own < self._minimum).tolist(), "too_few_tokens")
        if self._maximum is not None:
            result |= dict.fromkeys(np.flatnonzero(own > self._maximum).tolist(), "too_many_tokens")
        return result


def select(encoded: Encoded, chosen: npt.NDArray[np.bool_]) -> Encoded:
    """Only the `chosen` (n,) of the encoded documents."""
    numbers = np.cumsum(chosen) - 1  # of each chosen document among the chosen

    def of_chosen(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rows = rows[chosen[rows["document"]]]
        rows["document"] = numbers[rows["document"]]
        return rows

    tokens = encoded.tokens[np.repeat(chosen, encoded.lengths)]
    return Encoded(tokens, encoded.lengths[chosen], {name: of_chosen(rows) for name, rows in encoded.extras.items()})
