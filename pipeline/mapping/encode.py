"""Turn cleaned texts into tokens: the engine, its audit, the terminator."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import numpy.typing as npt

from shards.megatron import token_dtype
from tokenization.engines import audit
from tokenization.engines.base import Borders, Engine, EngineFactory, Ids
from tokenization.engines.reference import ReferenceEngine
from tokenization.tokenizer import Tokenizer

FAST_ENGINE = "tokenization.engines.fast:build"
REFERENCE = ReferenceEngine.name
WRONG_ON_PROBE = "the fast tokenizer %s is wrong on %r; using the reference engine for this dataset"


class AuditMismatch(Exception):
    """The fast engine and the reference disagree on a text."""


def fast_engine(tokenizer: Tokenizer, factory: str) -> Engine | None:
    """The engine that `factory` ("module:function") builds, or None when it does not support the tokenizer."""
    module, _, name = factory.partition(":")
    build: EngineFactory = getattr(import_module(module), name)
    return build(tokenizer)


class Encoder:
    """Encodes batches; `factory` None means the reference engine."""

    def __init__(self, tokenizer: Tokenizer, factory: str | None) -> None:
        self._tokenizer = tokenizer
        fast = fast_engine(tokenizer, factory) if factory else None
        self._engine: Engine = fast or ReferenceEngine(tokenizer)
        self._audit = fast is not None
        self._terminator = next(iter(tokenizer.roles.terminator), None)
        self.vocab_size = tokenizer.vocab_size
        self.dtype = token_dtype(tokenizer.vocab_size)

    @property
    def name(self) -> str:
        """Name of the engine in use."""
        return self._engine.name

    def probe(self) -> tuple[str, str] | None:
        """Try the fast engine, if it is in use, on the probe set. Where it is wrong the reference takes its place;
        the engine's name and the text, to fill WRONG_ON_PROBE with."""
        wrong = audit.probe_mismatch(self._tokenizer, self._engine) if self._audit else None
        if wrong is None:
            return None
        name = self.name
        self._engine, self._audit = ReferenceEngine(self._tokenizer), False
        return name, wrong.decode()[:80]

    def encode(
        self, texts: list[bytes], hashes: npt.NDArray[np.void]
    ) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]:
        """Tokens of all `texts`, each followed by the terminator, and the length of each with it, shape (n,)."""
        ids, borders = self._engine.encode_batch(texts, self._terminator)
        if self._audit:
            self._compare(texts, hashes, ids, borders, 0 if self._terminator is None else 1)
        return ids.astype(self.dtype), np.diff(borders)

    def encode_plain(self, texts: list[bytes], hashes: npt.NDArray[np.void] | None) -> tuple[Ids, Borders]:
        """Ids of `texts` back to back, without terminators, and their borders (n + 1,). The texts that `hashes` (n,)
        select are audited; None audits nothing."""
        ids, borders = self._engine.encode_batch(texts)
        if self._audit and hashes is not None:
            self._compare(texts, hashes, ids, borders, 0)
        return ids, borders

    def _compare(
        self,
        texts: list[bytes],
        hashes: npt.NDArray[np.void],
        ids: Ids,
        borders: Borders,
        end: int,
    ) -> None:
        places = [place for place in audit.selected(hashes) if len(texts[place]) <= audit.LONGEST_AUDITED]
        ours = [ids[borders[place] : borders[place + 1] - end] for place in places]
        wrong = audit.first_mismatch(self._tokenizer, [texts[place] for place in places], ours)
        if wrong is not None:
            raise AuditMismatch(wrong.decode()[:200])
