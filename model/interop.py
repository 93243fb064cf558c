"""Our configuration in the terms of `transformers`, and back: decoders here, encoders in their own file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError

from foundation.errors import UserError
from model.architectures import DECODER
from model.config import ModelConfig
from model.encoder import interop as encoders
from model.encoder.heads import Heads
from model.rope_scaling import of_config

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
READ_ALSO = {"mistral": "llama"}  # the same network where no sliding window is used
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16)}
# What such models may carry and our decoder does not have: (key, values that mean "not used").
UNSUPPORTED: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("attention_bias", (None, False)),
    ("mlp_bias", (None, False)),
    ("use_sliding_window", (None, False)),
    ("hidden_act", (None, "silu")),
    ("quantization_config", (None,)),
)
# What transformers takes where a key is missing, as far as it is not our own default.
THEIR_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"max_position_embeddings": 32768, "num_key_value_heads": 32},
    "qwen3": {"max_position_embeddings": 32768, "num_key_value_heads": 32, "head_dim": 128},
}


def to_transformers(
    config: ModelConfig, vocab_size: int, dtype: torch.dtype, heads: Heads | None = None
) -> dict[str, Any]:
    """The `config.json` that makes `transformers` build the same network; `heads` are an encoder's.

    Some keys stand twice: 4.x reads `rope_theta` and `torch_dtype`, 5.x `rope_parameters` and `dtype`.
    """
    own = _decoder(config) if heads is None else encoders.to_transformers(config, heads)
    return {
        **own,
        "vocab_size": vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.feed_forward_size,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
        "dtype": str(dtype).removeprefix("torch."),
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def _decoder(config: ModelConfig) -> dict[str, Any]:
    kind = "qwen3" if config.qk_norm else "qwen2" if config.qkv_bias else "llama"
    scaling = config.rope_scaling.to_transformers() if config.rope_scaling is not None else None
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "rope_theta": config.rope_base,
        "rope_scaling": scaling,
        "rope_parameters": {**(scaling or {"rope_type": "default"}), "rope_theta": config.rope_base},
        "rms_norm_eps": config.rms_norm_eps,
        "attention_bias": False,  # of Qwen2 nobody asks
        "mlp_bias": False,
        "attention_dropout": 0.0,
    }


def from_transformers(values: Mapping[str, Any], where: str) -> tuple[ModelConfig, int, torch.dtype]:
    """Our configuration, the vocabulary's size and the dtype of the weights that a `config.json` describes.

    `UserError`, naming `where`, for other architectures, unsupported variants and impossible values.
    """
    kind = values.get("model_type")
    if kind is None and "type_vocab_size" in values:
        kind = "bert"  # as its first published files have it
    values = {**values, "model_type": kind}
    required = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    missing = [key for key in required if values.get(key) is None]
    if kind in encoders.MODEL_TYPES:
        own = encoders.settings_of(values, where)
    elif kind in ARCHITECTURES or kind in READ_ALSO:
        own = _settings_of(values, where)
    else:
        known = ", ".join([*ARCHITECTURES, *READ_ALSO, *encoders.MODEL_TYPES])
        raise UserError(
            f"{where}: model_type is {kind!r}, but this program runs {known}; give a directory that train.py wrote, or "
            "one of such a model"
        )
    if missing:
        raise UserError(f"{where}: lacks {', '.join(missing)}; restore the file from where the model came")
    try:
        config = ModelConfig(**own)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".strip(": ") for e in error.errors())
        raise UserError(f"{where}: {problems}; restore the file from where the model came") from None
    vocab_size = values["vocab_size"]
    if not isinstance(vocab_size, int) or vocab_size < 1:
        raise UserError(f"{where}: vocab_size {vocab_size!r} is not a positive number; restore the file")
    name = str(values.get("dtype") or values.get("torch_dtype") or "float32").removeprefix("torch.")
    if name not in DTYPES:
        raise UserError(f"{where}: dtype {name!r} is not supported; known are {', '.join(DTYPES)}")
    return config, vocab_size, DTYPES[name]


def _settings_of(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of `ModelConfig` that a decoder's `config.json` describes."""
    kind = str(values["model_type"])
    values = {**{key: value for key, value in THEIR_DEFAULTS[kind].items() if key not in values}, **values}
    for key, unused in UNSUPPORTED:
        if values.get(key) not in unused:
            raise UserError(f"{where}: {key} = {values[key]!r} is not supported; use a model without it")
    window = values.get("sliding_window") if kind == "mistral" else None  # the others use it when asked to only
    kinds = set(values.get("layer_types") or ())
    if window is not None or kinds - {"full_attention"}:
        raise UserError(f"{where}: sliding windows of attention are not supported; use a model without them")
    scaling, base = of_config(values, where)
    known = {*ModelConfig.model_fields} - {"preset", "architecture", "rope_scaling", "qk_norm", "qkv_bias", "dropout"}
    own = {key: values[key] for key in known if values.get(key) is not None}
    own |= {"architecture": DECODER, "rope_scaling": scaling, "rope_theta": 10000.0 if base is None else base}
    own |= {"qk_norm": kind == "qwen3", "qkv_bias": kind == "qwen2"}
    own.setdefault("rms_norm_eps", 1e-6)  # the defaults of transformers, not ours
    own.setdefault("tie_word_embeddings", False)
    own.setdefault("num_key_value_heads", own.get("num_attention_heads"))
    return own
