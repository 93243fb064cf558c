"""The runner of CPUs: the whole pass over a decoder is one compiled function."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int64

import torch
from torch import Tensor

from generation.engine.native import building
from generation.engine.native.library import TYPES, Cache, Tokens, Weights
from generation.engine.quantized import Int8
from generation.engine.runner import Part
from model.decoder import Decoder
from model.kv_cache import KVCache

FORMATS = (torch.float32, torch.bfloat16)


class NativeRunner:
    """Reads tokens of any number of slots in one pass, each as if it were alone: to the last bit the same numbers."""

    def __init__(self, model: Decoder, cache: KVCache, library: ctypes.CDLL, quantized: Int8 | None = None) -> None:
        assert cache.keys.dtype in TYPES
        self._cache, self._weights = cache, Weights(model, quantized)
        self._vocab_size = model.vocab_size
        self._forward = library.forward
        self._forward.restype = None
        self._logits = torch.empty(0, model.vocab_size)  # (M, V), overwritten by each call

    @classmethod
    def where_possible(cls, model: Decoder, cache: KVCache, quantized: Int8 | None = None) -> NativeRunner | None:
        """A runner, or None: no CPU, a number format it does not know, or no compiler."""
        formats = {parameter.dtype for parameter in model.parameters()}
        if model.device.type != "cpu" or len(formats) != 1 or model.dtype not in FORMATS:
            return None
        library = building.library()
        return None if library is None else cls(model, cache, library, quantized)

    def read(self, parts: Sequence[Part]) -> Tensor:
        """As `Runner.read`."""
        lengths = self._cache.lengths
        ids: list[int] = []
        slots: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        for slot, tokens, last in parts:
            count, held = len(tokens), lengths[slot]
            assert held + count <= self._cache.capacity
            ids += tokens
            slots += [slot] * count
            positions += range(held, held + count)
            wanted += range(len(ids) - last, len(ids))
        assert min(ids) >= 0 and max(ids) < self._weights.structure.embedding.rows, "tokens the model does not know"
        if len(wanted) > len(self._logits):
            self._logits = torch.empty(len(wanted), self._vocab_size)
        numbers, places = c_int64 * len(ids), c_int64 * len(wanted)
        tokens_read = Tokens(
            numbers(*ids), numbers(*slots), numbers(*positions), len(ids), places(*wanted), len(wanted)
        )
        self._weights.structure.threads = torch.get_num_threads()
        self._forward(
            ctypes.byref(self._weights.structure),
            ctypes.byref(Cache.of(self._cache)),
            ctypes.byref(tokens_read),
            ctypes.c_void_p(self._logits.data_ptr()),
        )
        for slot, tokens, _ in parts:
            lengths[slot] += len(tokens)
        return self._logits[: len(wanted)]
