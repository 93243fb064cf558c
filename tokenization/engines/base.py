"""What every encoding engine offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from tokenization.tokenizer import Tokenizer


class Engine(Protocol):
    """Encodes batches of documents in the calling thread."""

    name: str

    def encode_batch(self, texts: list[bytes]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Ids of all `texts` (UTF-8) back to back, shape (tokens,), and their borders, shape (len(texts) + 1,)."""
        ...


class EngineFactory(Protocol):
    """Builds an engine for a tokenizer; None when it does not support that tokenizer."""

    def __call__(self, tokenizer: Tokenizer) -> Engine | None: ...
