"""The reference engine: the `tokenizers` library, one document after the other."""

from __future__ import annotations

import numpy as np

from tokenization.engines.base import Borders, Engine, Ids, terminated
from tokenization.tokenizer import Tokenizer


class ReferenceEngine:
    """Slow and right by definition."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        """See `Engine.encode_batch`."""
        encoded = self._tokenizer.encode_batch([text.decode() for text in texts])
        borders = np.cumsum([0, *(len(ids) for ids in encoded)], dtype=np.int64)
        ids = np.concatenate(encoded) if encoded else np.zeros(0, np.uint32)
        return terminated(ids, borders, terminator)


def build(tokenizer: Tokenizer) -> Engine:
    """The reference engine supports every tokenizer."""
    return ReferenceEngine(tokenizer)
