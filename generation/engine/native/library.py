"""The structures of forward.cpp, filled from a decoder's own tensors: no weight is copied."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_double, c_int64, c_void_p

import torch
from torch import Tensor, nn

from generation.engine.native.pages import into_huge_pages
from generation.engine.quantized import Int8
from model.decoder import Block, Decoder
from model.kv_cache import KVCache
from model.norm import RMSNorm

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}


class Matrix(Structure):
    """As in forward.cpp."""

    _fields_ = (
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
        ("rows", c_int64),
        ("columns", c_int64),
        ("type", c_int64),
    )


class Layer(Structure):
    """As in forward.cpp."""

    _fields_ = (
        *((name, Matrix) for name in ("query", "key", "value", "output", "gate", "up", "down")),
        *((name, c_void_p) for name in ("attention_norm", "mlp_norm", "query_norm", "key_norm")),
    )


class Model(Structure):
    """As in forward.cpp."""

    _fields_ = (
        ("layers", POINTER(Layer)),
        *((name, Matrix) for name in ("embedding", "head")),
        *((name, c_void_p) for name in ("norm", "cosines", "sines")),
        *((name, c_int64) for name in ("depth", "width", "heads", "groups", "size", "inner", "vocabulary", "threads")),
        ("epsilon", c_double),
    )


class Cache(Structure):
    """As in forward.cpp."""

    _fields_ = (
        ("keys", c_void_p),
        ("values", c_void_p),
        ("slots", c_int64),
        ("capacity", c_int64),
        ("type", c_int64),
    )

    @classmethod
    def of(cls, cache: KVCache) -> Cache:
        """Where a cache is now; `reserve` moves it."""
        return cls(cache.keys.data_ptr(), cache.values.data_ptr(), cache.slots, cache.capacity, TYPES[cache.keys.dtype])


class Tokens(Structure):
    """As in forward.cpp."""

    _fields_ = (
        *((name, POINTER(c_int64)) for name in ("ids", "slots", "positions")),
        ("count", c_int64),
        ("wanted", POINTER(c_int64)),
        ("wanted_count", c_int64),
    )


class Weights:
    """A decoder as the structure `Model`, and the tensors that it points to."""

    def __init__(self, model: Decoder, quantized: Int8 | None) -> None:
        self._held: list[object] = []
        self._quantized = quantized
        config, trunk = model.config, model.model
        blocks = [block for block in trunk.layers if isinstance(block, Block)]
        layers = (Layer * len(blocks))(*(self._layer(block) for block in blocks))
        self._held.append(layers)
        self.structure = Model(
            layers=layers,
            embedding=self._matrix(model.embedding.weight),
            head=self._matrix(model.head_weight, "head"),
            norm=self._vector(trunk.norm.weight),
            cosines=self._vector(trunk.rotary.cos),
            sines=self._vector(trunk.rotary.sin),
            depth=len(blocks),
            width=config.hidden_size,
            heads=config.num_attention_heads,
            groups=config.num_key_value_heads,
            size=config.head_size,
            inner=config.feed_forward_size,
            vocabulary=model.vocab_size,
            threads=torch.get_num_threads(),
            epsilon=config.rms_norm_eps,
        )
        into_huge_pages(held for held in self._held if isinstance(held, Tensor))

    def _layer(self, block: Block) -> Layer:
        attention, mlp = block.self_attn, block.mlp
        return Layer(
            query=self._linear(attention.q_proj),
            key=self._linear(attention.k_proj),
            value=self._linear(attention.v_proj),
            output=self._linear(attention.o_proj),
            gate=self._linear(mlp.gate_proj),
            up=self._linear(mlp.up_proj),
            down=self._linear(mlp.down_proj),
            attention_norm=self._vector(block.input_layernorm.weight),
            mlp_norm=self._vector(block.post_attention_layernorm.weight),
            query_norm=self._norm(attention.q_norm),
            key_norm=self._norm(attention.k_norm),
        )

    def _linear(self, linear: nn.Linear) -> Matrix:
        return self._matrix(linear.weight, linear, linear.bias)

    def _matrix(self, weight: Tensor, key: nn.Linear | str | None = None, bias: Tensor | None = None) -> Matrix:
        scale = None
        if key is not None and self._quantized is not None:
            weight, scale = self._quantized.weights[key]
        weight = weight.detach().contiguous()
        self._held.append(weight)
        rows, columns = weight.shape
        return Matrix(
            weight.data_ptr(),
            None if scale is None else self._vector(scale),
            None if bias is None else self._vector(bias),
            rows,
            columns,
            TYPES[weight.dtype],
        )

    def _norm(self, norm: RMSNorm | None) -> int | None:
        return None if norm is None else self._vector(norm.weight)

    def _vector(self, values: Tensor) -> int:
        """Address of float32 numbers, which small tensors become where they are not."""
        values = values.detach().float().contiguous()
        self._held.append(values)
        return values.data_ptr()
