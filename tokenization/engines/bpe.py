"""The fast engine for byte-level BPE: gigatoken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gigatoken
import numpy as np
import orjson

from foundation.logs import get_logger
from tokenization.engines.base import Borders, Engine, Ids, unterminated
from tokenization.engines.reference import ReferenceEngine
from tokenization.tokenizer import Tokenizer

SEPARATOR = "\U0010ffff\U0010fffe"
"""Stands after each text of a joined batch, as a special token of the engine's own. Two noncharacters (Unicode
Standard, 23.7), and no proper beginning of it is also its end, so that it can never be found across its own border."""
CACHE_BYTES = 192 * 2**20
"""How much memory the engine's cache of words may take before it is dropped."""
_CACHE_CHECK = 16 * 2**20
_UNWATCHED_TEXT = 512 * 2**20
"""Text after which the cache is dropped where the system does not tell how much memory it takes."""

log = get_logger("tokenization")


class GigatokenEngine:
    """Encodes in the calling thread only: the pipeline's processes are the parallelism.

    A whole batch goes through one call on one buffer; its separators become an id beyond the vocabulary.
    """

    name = "gigatoken"

    def __init__(self, tokenizer: Tokenizer, definition: dict[str, Any]) -> None:
        self._separator_id = tokenizer.vocab_size
        separator = {"id": self._separator_id, "content": SEPARATOR, "special": True, "normalized": False}
        separator |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        added = [*(definition.get("added_tokens") or []), separator]
        self._definition = orjson.dumps({**definition, "added_tokens": added})
        self._reference = ReferenceEngine(tokenizer)
        self._separator = SEPARATOR.encode()
        self._load()

    def _load(self) -> None:
        self._tokenizer = gigatoken.Tokenizer.from_json(self._definition)
        self._memory, self._unchecked, self._seen = resident_bytes(), 0, 0

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        """See `Engine.encode_batch`."""
        joined = self._separator.join([*texts, b""])
        ids = np.asarray(self._tokenizer.encode(joined))
        ends = np.flatnonzero(ids == self._separator_id)
        self._bound_cache(len(joined))
        if len(ends) != len(texts):  # a text holds the separator
            return self._reference.encode_batch(texts, terminator)
        borders = np.concatenate([[0], ends + 1])
        if terminator is None:
            return unterminated(ids, borders)
        ids[ends] = terminator
        return ids, borders

    def _bound_cache(self, size: int) -> None:
        """The engine remembers every word it met. Where words hardly repeat (Chinese clauses) that grows with the
        text, so it is dropped when the process has grown too much."""
        self._unchecked += size
        if self._unchecked < _CACHE_CHECK:
            return
        self._seen, self._unchecked = self._seen + self._unchecked, 0
        if resident_bytes() - self._memory > CACHE_BYTES or (not self._memory and self._seen > _UNWATCHED_TEXT):
            del self._tokenizer
            self._load()


def resident_bytes() -> int:
    """Memory of this process that is in RAM now; 0 where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def build(tokenizer: Tokenizer) -> Engine | None:
    """A gigatoken engine, or None for tokenizers that are no byte-level BPE.

    gigatoken turns the text `<|endoftext|>` into the token; without the special tokens in its definition it cannot.
    """
    try:
        definition = orjson.loads(tokenizer.definition)  # some megabytes: json would take as long as gigatoken itself
        model = definition.get("model") or {}
        if model.get("type") != "BPE" or definition.get("normalizer") or model.get("byte_fallback"):
            return None
        definition["added_tokens"] = [t for t in definition.get("added_tokens") or [] if not t.get("special")]
        definition["post_processor"] = None
        return GigatokenEngine(tokenizer, definition)
    except Exception as error:  # a tokenizer it does not know is no fault of the user's
        log.info("fast tokenizer not available for this tokenizer (%s); using the reference", error)
        return None
