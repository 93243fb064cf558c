"""Our configuration and weights in the terms of `transformers` (Llama and Qwen3), and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from foundation.errors import UserError
from model.architectures import DECODER
from model.config import ModelConfig
from model.decoder import Decoder

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
VOCABULARY_TENSORS = ("model.embed_tokens.weight", "lm_head.weight")
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16)}
MISMATCH = "the weights and the configuration beside them don't match, use the files of one model"
# What such models may carry and our decoder does not have: (key, values that mean "not used").
UNSUPPORTED: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("attention_bias", (None, False)),
    ("mlp_bias", (None, False)),
    ("use_sliding_window", (None, False)),
    ("hidden_act", (None, "silu")),
    ("rope_scaling", (None,)),
    ("quantization_config", (None,)),
)


def to_transformers(config: ModelConfig, vocab_size: int, dtype: torch.dtype) -> dict[str, Any]:
    """The `config.json` that makes `transformers` build the same network.

    Some keys stand twice: 4.x reads `rope_theta` and `torch_dtype`, 5.x `rope_parameters` and `dtype`.
    """
    kind = "qwen3" if config.qk_norm else "llama"
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "vocab_size": vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_size,
        "intermediate_size": config.feed_forward_size,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_position_embeddings,
        "rope_theta": config.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "rms_norm_eps": config.rms_norm_eps,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
        "dtype": str(dtype).removeprefix("torch."),
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def from_transformers(values: Mapping[str, Any], where: str) -> tuple[ModelConfig, int, torch.dtype]:
    """Our configuration, the vocabulary's size and the dtype of the weights that a `config.json` describes.

    `UserError`, naming `where`, for other architectures, unsupported variants and impossible values.
    """
    kind = values.get("model_type")
    if kind not in ARCHITECTURES:
        raise UserError(
            f"{where}: model_type is {kind!r}, but this program runs {' and '.join(ARCHITECTURES)} decoders; "
            "give a directory that train.py wrote, or a Llama- or Qwen3-style one"
        )
    for key, unused in UNSUPPORTED:
        if values.get(key) not in unused:
            raise UserError(f"{where}: {key} = {values[key]!r} is not supported; use a model without it")
    rope = values.get("rope_parameters") or {}
    if not isinstance(rope, Mapping) or rope.get("rope_type", "default") != "default":
        raise UserError(f"{where}: rope_parameters {rope!r} is not supported; use a model with plain RoPE")
    own = {key: values[key] for key in ModelConfig.model_fields if values.get(key) is not None}
    own["architecture"] = DECODER
    own["rope_theta"] = rope.get("rope_theta", own.get("rope_theta", 10000.0))
    own["qk_norm"] = kind == "qwen3"
    own.setdefault("rms_norm_eps", 1e-6)  # the defaults of transformers, not ours
    own.setdefault("tie_word_embeddings", False)
    own.setdefault("num_key_value_heads", own.get("num_attention_heads"))
    required = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    missing = [key for key in required if values.get(key) is None]
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


def export_tensors(model: Decoder) -> dict[str, Tensor]:
    """The weights under their names in `transformers`, on the CPU, without the padding of the vocabulary."""
    return {
        name: (tensor[: model.vocab_size] if name in VOCABULARY_TENSORS else tensor).detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }


def build_decoder(
    config: ModelConfig,
    vocab_size: int,
    tensors: Mapping[str, Tensor],
    *,
    where: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Decoder:
    """A decoder in evaluation mode with these weights, the vocabulary padded or not.

    `tensors` is a state dict of ours (a training checkpoint's) or the content of a model directory.
    `UserError`, naming `where`, for missing, unknown and wrongly shaped tensors.
    """
    with torch.device("meta"):
        model = Decoder(config, vocab_size)
    model = model.to(dtype).to_empty(device=device).eval()
    state = model.state_dict()
    ignored = {"lm_head.weight"} if config.tie_word_embeddings else set()
    unknown = sorted(name for name in tensors if name not in state and name not in ignored
                     and not name.endswith("rotary_emb.inv_freq"))  # fmt: skip
    missing = sorted(name for name in state if name not in tensors)
    for problem, names in (("lacks the tensors", missing), ("holds unknown tensors", unknown)):
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"{where}: {problem} {shown}; {MISMATCH}")
    for name, target in state.items():
        _copy(tensors[name], target, name, vocab_size, where)
    return model


@torch.no_grad()
def _copy(source: Tensor, target: Tensor, name: str, vocab_size: int, where: str) -> None:
    expected = tuple(target.shape)
    allowed = [expected]
    if name in VOCABULARY_TENSORS:
        allowed.insert(0, (vocab_size, *expected[1:]))
    if tuple(source.shape) not in allowed:
        raise UserError(f"{where}: {name} has shape {tuple(source.shape)}, expected {allowed[0]}; {MISMATCH}")
    if not source.is_floating_point():
        raise UserError(f"{where}: {name} holds {source.dtype}, not floating-point numbers; save the model again")
    target[: source.shape[0]].copy_(source)
    target[source.shape[0] :].zero_()  # the padding of the vocabulary: never read, but never garbage
