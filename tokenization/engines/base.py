"""What every encoding engine offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from tokenization.tokenizer import Tokenizer

Ids = npt.NDArray[np.uint32]
Borders = npt.NDArray[np.int64]


class Engine(Protocol):
    """Encodes batches of documents in the calling thread."""

    name: str

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        """Ids of all `texts` (UTF-8) back to back, shape (tokens,), and their borders, shape (len(texts) + 1,).

        With a `terminator`, every text is followed by that id and its part of the ids includes it.
        """
        ...


class EngineFactory(Protocol):
    """Builds an engine for a tokenizer; None when it does not support that tokenizer."""

    def __call__(self, tokenizer: Tokenizer) -> Engine | None: ...


def terminated(ids: Ids, borders: Borders, terminator: int | None) -> tuple[Ids, Borders]:
    """`ids` with the `terminator` (if any) after each text, and the borders that then hold."""
    if terminator is None:
        return ids, borders
    return np.insert(ids, borders[1:], terminator), borders + np.arange(len(borders))


def unterminated(ids: Ids, borders: Borders) -> tuple[Ids, Borders]:
    """`ids` without the last id of each text, and the borders that then hold."""
    return np.delete(ids, borders[1:] - 1), borders - np.arange(len(borders))
