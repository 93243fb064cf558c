"""The reference engine: the `tokenizers` library, one document after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tokenization.engines.base import Engine
from tokenization.tokenizer import Tokenizer


class ReferenceEngine:
    """Slow and right by definition."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode_batch(self, texts: list[bytes]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """See `Engine.encode_batch`."""
        encoded = self._tokenizer.encode_batch([text.decode() for text in texts])
        borders = np.cumsum([0, *(len(ids) for ids in encoded)], dtype=np.int64)
        return (np.concatenate(encoded) if encoded else np.zeros(0, np.uint32)), borders


def build(tokenizer: Tokenizer) -> Engine:
    """The reference engine supports every tokenizer."""
    return ReferenceEngine(tokenizer)
