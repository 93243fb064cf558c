"""A decoder's weights as llama.cpp wants them: names, order of rows, number formats.

Legend: H heads, D width of a head, C width. Source: llama.cpp's convert_hf_to_gguf.py and its src/models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foundation.errors import UserError
from model.build import export_tensors
from model.config import ModelConfig
from model.decoder import Decoder

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

FORMATS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
BLOCK = 32  # numbers that share a scale in q8_0
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IN_BLOCKS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_BLOCK_NAME = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
ROPE_FACTORS = "rope_freqs.weight"


def architecture_of(config: ModelConfig) -> str:
    """llama, qwen2 (biases) or qwen3 (normalised queries and keys): which of llama.cpp's networks this is.

    `UserError` for heads that its qwen2 cannot have, and for frequencies that only its llama reads.
    """
    if config.qkv_bias and config.head_size * config.num_attention_heads != config.hidden_size:
        raise UserError(
            f"heads {config.head_size} wide, {config.num_attention_heads} of them, are not the width "
            f"{config.hidden_size} together: llama.cpp has no such model with biases"
        )
    found = "qwen3" if config.qk_norm else "qwen2" if config.qkv_bias else "llama"
    if found != "llama" and _has_rope_factors(config):
        raise UserError(
            f"rope_scaling of llama3's kind in a {found}: llama.cpp reads such frequencies in llama alone; "
            "transformers runs the model directory as it is"
        )
    return found


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor of the file: its name, its values, the number format it is to have."""

    name: str
    values: Tensor
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    """That of the file; `values` may be a view with more axes."""

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        from gguf import GGML_QUANT_SIZES

        block, size = GGML_QUANT_SIZES[self.kind]
        return self.values.numel() // block * size

    def encoded(self) -> npt.NDArray[Any]:
        """The values in their format: (…) float32 or float16, else the bytes (…, row) uint8.

        `UserError` for numbers that are no longer finite in it.
        """
        from gguf import quantize

        numbers = self.values.reshape(self.shape).float().numpy()
        with np.errstate(over="ignore"):
            found: npt.NDArray[Any] = quantize(numbers, self.kind)
        if self.kind.name == "F16" and not np.isfinite(found).all():
            raise UserError(f"{self.name}: holds numbers beyond what f16 can hold (65,504); write --dtype bf16 or f32")
        return found


def tensors_of(model: Decoder, dtype: str) -> Iterator[GGUFTensor]:
    """The tensors of the file, matrices in `dtype` (f32, f16, bf16, q8_0), vectors always in f32.

    Rows that q8_0's blocks of 32 do not fill are f16, as llama.cpp has it.
    """
    from gguf import GGMLQuantizationType as Kind

    config = model.config
    llama = architecture_of(config) == "llama"
    asked = Kind[dtype.upper()]
    for name, tensor in export_tensors(model).items():
        shape = tuple(tensor.shape)
        kind = Kind.F32 if len(shape) == 1 else asked
        if kind is Kind.Q8_0 and shape[-1] % BLOCK:
            kind = Kind.F16
        if llama and name.endswith(("q_proj.weight", "k_proj.weight")):
            tensor = interleaved(tensor, config.head_size)
        yield GGUFTensor(file_name(name), tensor, kind, shape)
    if _has_rope_factors(config):
        factors = _rope_factors(config)
        yield GGUFTensor(ROPE_FACTORS, factors, Kind.F32, tuple(factors.shape))


def file_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`"""
    if name in _TOP:
        return _TOP[name]
    found = _BLOCK_NAME.fullmatch(name)
    assert found is not None and found[2] in _IN_BLOCKS, name
    return f"blk.{found[1]}.{_IN_BLOCKS[found[2]]}.{found[3]}"


def interleaved(weight: Tensor, size: int) -> Tensor:
    """A view (H, D/2, 2, C) of a matrix (H·D, C) of queries or keys, D = `size`: its rows in the order of Llama's first
    code, which llama.cpp's llama turns by. Neighbours are a pair there; in ours (and in its qwen2 and qwen3) a row of
    the first half of a head and one of the second."""
    rows, width = weight.shape
    return weight.view(rows // size, 2, size // 2, width).transpose(1, 2)


def _has_rope_factors(config: ModelConfig) -> bool:
    return config.rope_scaling is not None and config.rope_scaling.rope_type == "llama3"


def _rope_factors(config: ModelConfig) -> Tensor:
    """(D/2,) what each frequency is divided by."""
    assert config.rope_scaling is not None
    size = config.head_size
    frequencies = 1.0 / config.rope_base ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    return frequencies / config.rope_scaling.lowered(frequencies)
