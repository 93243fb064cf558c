"""What an engine has done: tokens, time and memory read, for the line at the end and for benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from generation.engine.quantized import Int8
from model.decoder import Decoder
from model.kv_cache import KVCache


@dataclass
class Usage:
    """Over an engine's life."""

    tokens: int = 0
    """Given."""
    passes: int = 0
    """Over the model, reading prompts included."""
    bytes_read: int = 0
    """Weights, as stored, and keys and values attended to, once a pass."""
    seconds: float = 0.0
    """Spent in steps."""


def bytes_of_weights(model: Decoder, quantized: Int8 | None) -> int:
    """What a pass reads: all of the model but the embeddings, of which it takes a row a token, unless they are the
    head as well."""
    if quantized is not None:
        matrices = {id(pair): pair[0].nbytes + pair[1].nbytes for pair in quantized.weights.values()}
        return sum(matrices.values())
    weights: dict[int, torch.Tensor] = {id(weight): weight for weight in model.parameters()}
    if model.head_weight is not model.embedding.weight:
        del weights[id(model.embedding.weight)]
    return sum(weight.nbytes for weight in weights.values())


def bytes_of_token(cache: KVCache) -> int:
    """What one held token takes in the cache."""
    layers, _, groups, _, size = cache.keys.shape
    return 2 * layers * groups * size * cache.keys.element_size()
