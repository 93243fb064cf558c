"""What sets the architectures apart: the settings that each has, its own defaults, and the one a task trains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from foundation.errors import UserError
from model import presets

if TYPE_CHECKING:
    from model.config import ModelConfig

DECODER: Final = "llama"
ENCODERS: Final = ("bert", "modernbert")
PROBLEMS = "the configuration has problems:"
FEED_FORWARD_MULTIPLE = 64  # a derived feed-forward width is rounded up to this, for the matmul kernels

ROPE_THETA: Mapping[str, float] = {"llama": 10_000.0, "modernbert": 160_000.0}
LAYER_NORM_EPS: Mapping[str, float] = {"bert": 1e-12, "modernbert": 1e-5}
OWNERS: Mapping[str, tuple[str, ...]] = {
    "num_key_value_heads": ("llama",),
    "head_dim": ("llama",),
    "rms_norm_eps": ("llama",),
    "qk_norm": ("llama",),
    "qkv_bias": ("llama",),
    "rope_scaling": ("llama",),
    "rope_theta": ("llama", "modernbert"),
    "layer_norm_eps": ENCODERS,
    "type_vocab_size": ("bert",),
    "local_init": ("bert",),
    "local_attention": ("modernbert",),
    "global_attn_every_n_layers": ("modernbert",),
    "local_rope_theta": ("modernbert",),
    "classifier_dropout": ENCODERS,
    "classifier_pooling": ("modernbert",),
}
"""The settings that some architectures have; all have the others."""


def feed_forward_size(architecture: str | None, width: int) -> int:
    """The feed-forward width that belongs to a hidden width: 4 times in BERT, about 8/3 with three matrices in place of
    two (Shazeer, 2020), 3/2 in ModernBERT (Warner et al., 2024, arXiv 2412.13663)."""
    if architecture == "bert":
        return 4 * width
    exact = -(-3 * width // 2) if architecture == "modernbert" else -(-8 * width // 3)
    return -(-exact // FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE


def shape_problems(config: ModelConfig) -> list[str]:
    """What does not fit together in the sizes of a model. Where the architecture is open, heads of keys are not judged:
    an encoder has none."""
    problems = []
    width, heads = config.hidden_size, config.num_attention_heads
    own_width = config.head_dim is not None and not config.is_encoder
    if not own_width and width % heads:
        remedy = "change one of them" + ("" if config.is_encoder else " or set head_dim")
        problems.append(f"hidden_size {width} is not a multiple of num_attention_heads {heads}: {remedy}")
    elif config.head_size % 2 and (config.architecture in ROPE_THETA or own_width):
        problems.append(f"a head is {config.head_size} wide, but rotary embeddings need an even width")
    if config.qk_norm and config.qkv_bias and not config.is_encoder:
        problems.append("qk_norm and qkv_bias: no model has both (Qwen3 the first, Qwen2 the second); leave one out")
    if config.architecture == DECODER and heads % config.num_key_value_heads:
        problems.append(
            f"num_attention_heads {heads} is not a multiple of num_key_value_heads {config.num_key_value_heads}"
        )
    return problems


def settled(config: ModelConfig, trained: Sequence[str], given: Collection[str]) -> ModelConfig:
    """`config` with its architecture named and everything that depends on it in place.

    A task trains the architectures `trained`; the first is meant where the configuration names none. An architecture's
    own defaults are filled in; settings that it lacks are as if nobody had set them, so that a checkpoint holds only
    what its model has. `given` are the settings that flags named: `UserError` for those that the architecture lacks,
    and for sizes that do not fit together.
    """
    name = config.architecture or trained[0]
    lacking = [leaf for leaf, owners in OWNERS.items() if name not in owners]
    problems = [
        f"--{leaf}: the architecture {name} has no such thing (only {' and '.join(OWNERS[leaf])}); leave it out"
        for leaf in lacking
        if leaf in given
    ]
    if name not in trained:
        problems.append(f"architecture {name}: this task trains {' or '.join(trained)}; change the one or the other")
    named = presets.architecture_of(config.preset)
    if named not in (None, name):
        problems.append(f"preset {config.preset} is a {named}, not a {name}; leave one of the two out")
    if problems:
        raise UserError("\n  ".join([PROBLEMS, *problems]))
    fields = type(config).model_fields
    values: dict[str, Any] = {**config.model_dump(), "architecture": name}
    values = presets.merged(config.preset, values, given)
    values |= {leaf: fields[leaf].default for leaf in lacking}
    for leaf, own in (("rope_theta", ROPE_THETA), ("layer_norm_eps", LAYER_NORM_EPS)):
        if name in own and values[leaf] is None:
            values[leaf] = own[name]
    try:
        return type(config)(**values)
    except ValidationError as error:
        found = [str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors()]
        raise UserError("\n  ".join([PROBLEMS, *found])) from None
