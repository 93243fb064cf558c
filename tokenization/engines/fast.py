"""The fast engine: gigatoken, for byte-level BPE."""

from __future__ import annotations

import json

import gigatoken
import numpy as np
import numpy.typing as npt

from foundation.logs import get_logger
from tokenization.engines.base import Engine
from tokenization.tokenizer import Tokenizer

log = get_logger("tokenization")


class GigatokenEngine:
    """Encodes in the calling thread only: the pipeline's processes are the parallelism."""

    name = "gigatoken"

    def __init__(self, definition: bytes) -> None:
        self._tokenizer = gigatoken.Tokenizer.from_json(definition)

    def encode_batch(self, texts: list[bytes]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """See `Engine.encode_batch`."""
        if not texts:
            return np.zeros(0, np.uint32), np.zeros(1, np.int64)
        layout = self._tokenizer.encode_batch(texts, parallel=False).layout
        borders = np.asarray(layout.offsets, dtype=np.int64)
        ids = np.asarray(layout.content.data)
        return ids[borders[0] : borders[-1]], borders - borders[0]


def build(tokenizer: Tokenizer) -> Engine | None:
    """A gigatoken engine, or None for tokenizers that are no byte-level BPE.

    gigatoken turns the text `<|endoftext|>` into the token; without the special tokens in its definition it cannot.
    """
    definition = tokenizer.json()
    model = definition.get("model") or {}
    if model.get("type") != "BPE" or definition.get("normalizer") or model.get("byte_fallback"):
        return None
    definition["added_tokens"] = [t for t in definition.get("added_tokens") or [] if not t.get("special")]
    definition["post_processor"] = None
    try:
        return GigatokenEngine(json.dumps(definition, ensure_ascii=False).encode())
    except Exception as error:  # a tokenizer it does not know is no fault of the user's
        log.info("fast tokenizer not available for this tokenizer (%s); using the reference", error)
        return None
