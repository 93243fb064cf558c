"""The reference engine: the `tokenizers` library, one document after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tokenization.engines.base import Borders, Engine, Ids, terminated
from tokenization.tokenizer import Tokenizer

GROUP_BYTES = 256 * 1024
"""Text that the library is given at once."""


class ReferenceEngine:
    """Slow and right by definition."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        """See `Engine.encode_batch`."""
        encoded: list[Ids] = []
        for group in _groups(texts):
            encoded += self._tokenizer.encode_batch([text.decode() for text in group])
        borders = np.cumsum([0, *(len(ids) for ids in encoded)], dtype=np.int64)
        ids = np.concatenate(encoded) if encoded else np.zeros(0, np.uint32)
        return terminated(ids, borders, terminator)


def _groups(texts: list[bytes]) -> Iterator[list[bytes]]:
    """Runs of texts of about GROUP_BYTES: the library takes some 200 bytes of memory for each of text."""
    group, size = [], 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    yield group


def build(tokenizer: Tokenizer) -> Engine:
    """The reference engine supports every tokenizer."""
    return ReferenceEngine(tokenizer)
