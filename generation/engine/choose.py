"""Which runner serves a model on its device."""

from __future__ import annotations

from typing import Literal

from generation.engine.graphs import GraphRunner
from generation.engine.native.runner import NativeRunner
from generation.engine.quantized import Int8, with_int8
from generation.engine.runner import EagerRunner, Runner
from model.decoder import Decoder
from model.kv_cache import KVCache

Quantization = Literal["none", "int8"]


def runner_for(model: Decoder, cache: KVCache, quantized: Int8 | None, compiled: bool) -> Runner:
    """The fastest that the machine has, or with `compiled` false the one that needs nothing but torch."""
    if compiled and model.device.type == "cpu":
        native = NativeRunner.where_possible(model, cache, quantized)
        if native is not None:
            return native
    plain = model if quantized is None else with_int8(model, quantized)
    if compiled and model.device.type == "cuda":
        return GraphRunner(plain, cache)
    return EagerRunner(plain, cache)
