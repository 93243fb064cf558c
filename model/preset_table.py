"""The table of `python -m model.presets`: each preset's shape, size, memory to train and compute-optimal tokens."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from foundation.config import load_config
from foundation.quantities import Count
from foundation.section import Section
from model import costs, presets
from model.config import ModelConfig

HEADINGS = ("preset", "layers", "heads", "width", "feed-forward", "parameters", "memory", "tokens", "GFLOP/token")
MASKED_SHARE = 0.15


class TableFlags(Section):
    """Options of the table."""

    positional: ClassVar[Sequence[str]] = ()

    architecture: Literal["llama", "bert", "modernbert"] = Field("llama", description="list the presets of this one")
    vocab_size: Count = Field(32_000, ge=1, description="tokens of the vocabulary that the parameters count")
    max_seq_len: Count = Field(1024, ge=2, description="tokens of a sequence")
    batch_size: Count = Field(16, ge=1, description="sequences of a microstep, for the memory")

    @property
    def head_share(self) -> float:
        """The share of positions that the head computes: an encoder's, the masked ones of its default."""
        return 1.0 if self.architecture == "llama" else MASKED_SHARE

    @property
    def usage(self) -> str:
        """How such a model is trained."""
        if self.architecture == "llama":
            return "--preset 15m"
        return "--task mlm --preset " + ("bert-mini" if self.architecture == "bert" else "modern-mini")


def row(name: str, flags: TableFlags) -> tuple[str, ...]:
    """What the table says about one preset."""
    config = ModelConfig(**presets.merged(name, {"architecture": flags.architecture}, ()))
    count = costs.parameters(config, flags.vocab_size)
    tokens = flags.batch_size * flags.max_seq_len
    memory = costs.state_bytes(config, flags.vocab_size)
    memory += costs.activation_bytes(config, flags.vocab_size, tokens, flags.head_share)
    attended = flags.max_seq_len if config.is_encoder else (flags.max_seq_len + 1) / 2
    operations = costs.flops_per_token(config, flags.vocab_size, attended, flags.head_share)
    heads = f"{config.num_attention_heads}/{config.key_value_heads}"
    shape = (str(config.num_hidden_layers), heads, str(config.hidden_size), str(config.feed_forward_size))
    size = (short(count), f"{memory / 1e9:.2f} GB", short(costs.COMPUTE_OPTIMAL * count), f"{operations / 1e9:.3g}")
    return (name, *shape, *size)


def short(number: int) -> str:
    """14,490,880 -> 14.5M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.{0 if number >= 100 * size else 1}f}{unit}"
    return str(number)


def table(flags: TableFlags) -> str:
    """All presets, a line each, under the headings."""
    rows = [HEADINGS, *(row(name, flags) for name in presets.of(flags.architecture))]
    widths = [max(len(line[column]) for line in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in rows]
    names = " (124m and 350m are named for GPT-2's: --vocab_size 50257)" if flags.architecture == "llama" else ""
    note = (
        f"heads: of queries / of keys and values. parameters: with a vocabulary of {flags.vocab_size:,}{names}. "
        "memory to train: weights, gradients and Adam's moments in float32, and the activations of "
        f"{flags.batch_size} sequences of {flags.max_seq_len} tokens in bfloat16 (an estimate). "
        f"tokens: compute-optimal, {costs.COMPUTE_OPTIMAL} a parameter."
    )
    use = f"Use one with: python train.py {flags.usage}"
    return "\n".join([*lines, "", *textwrap.wrap(note, 120), use])


def main(argv: list[str]) -> int:
    """Print the table."""
    loaded = load_config("python -m model.presets", "Compare the presets.", {}, TableFlags, argv)
    print(table(loaded.get(TableFlags)))
    return 0
