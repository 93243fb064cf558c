"""Architectures by name; `python -m model.presets` prints what each costs.

The names from 3m to 60m say their parameters with a vocabulary of 32,000, 124m and 350m with GPT-2's 50,257. micro-v1
to micro-v4 have the layers, heads and widths of MicroBERT's four sizes, as a decoder or as an encoder, whose
feed-forward width is then its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

AUTO = "auto"
"""The name that stands for the preset that fits the machine."""

KEYS = (
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_size",
    "intermediate_size",
    "head_dim",
)


DECODER = "llama"


ENCODER_KEYS = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")
MICRO = ("micro-v1", "micro-v2", "micro-v3", "micro-v4")


def _shape(layers: int, heads: int, groups: int, width: int, inner: int) -> dict[str, int | str | None]:
    return dict(zip(KEYS, (layers, heads, groups, width, inner, None), strict=True))


def _encoder(architecture: str, layers: int, heads: int, width: int, inner: int) -> dict[str, int | str | None]:
    sizes = (layers, heads, width, inner)
    return {"architecture": architecture, **dict(zip(ENCODER_KEYS, sizes, strict=True))}


PRESETS: Mapping[str, Mapping[str, int | str | None]] = {
    "micro-v1": _shape(2, 2, 2, 4, 12),
    "micro-v2": _shape(4, 4, 4, 8, 24),
    "micro-v3": _shape(6, 8, 8, 16, 48),
    "micro-v4": _shape(8, 8, 8, 256, 704),
    "3m": _shape(6, 5, 5, 80, 256),
    "7m": _shape(6, 5, 5, 160, 448),
    "15m": _shape(8, 8, 4, 256, 768),
    "30m": _shape(10, 6, 3, 384, 1152),
    "60m": _shape(14, 8, 4, 512, 1536),
    "124m": _shape(12, 12, 12, 768, 2048),
    "350m": _shape(24, 16, 16, 1024, 2752),
    "bert-tiny": _encoder("bert", 2, 2, 128, 512),
    "bert-mini": _encoder("bert", 4, 4, 256, 1024),
    "bert-small": _encoder("bert", 4, 8, 512, 2048),
    "bert-medium": _encoder("bert", 8, 8, 512, 2048),
    "bert-base": _encoder("bert", 12, 12, 768, 3072),
    "bert-large": _encoder("bert", 24, 16, 1024, 4096),
    "modern-tiny": _encoder("modernbert", 4, 4, 128, 192),
    "modern-mini": _encoder("modernbert", 7, 4, 256, 384),
    "modern-small": _encoder("modernbert", 10, 6, 384, 576),
    "modern-medium": _encoder("modernbert", 13, 8, 512, 768),
    "modern-base": _encoder("modernbert", 22, 12, 768, 1152),
}
"""Preset -> the settings of its architecture: all of `KEYS`, or `architecture` and those that an encoder has.

BERT's sizes are those of Turc et al. (2019, arXiv 1908.08962) and Devlin et al. (2018), modern-base is that of Warner
et al. (2024, arXiv 2412.13663)."""


def of(architecture: str) -> list[str]:
    """The names of the presets of an architecture; an encoder's with those that stand for sizes of any."""
    own = [name for name, shape in PRESETS.items() if shape.get("architecture", DECODER) == architecture]
    return own if architecture == DECODER else [*MICRO, *own]


def architecture_of(name: str | None) -> str | None:
    """The architecture that a preset stands for; None where it stands for sizes alone."""
    found = PRESETS.get(name or "", {}).get("architecture")
    return None if found is None else str(found)


def shape_of(name: Any) -> dict[str, Any]:
    """The architecture that a preset stands for; empty for any name that is no preset."""
    return dict(PRESETS.get(name, {})) if isinstance(name, str) else {}


def merged(name: Any, settings: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """`settings` of the model with the architecture of the preset `name` in place of their own, but for those `given`
    on the command line. Any name that is no preset leaves them as they are."""
    shape = shape_of(name)
    if shape and "architecture" not in shape and settings.get("architecture") not in (None, DECODER):
        # Sizes that were chosen for decoders: an encoder has its own rule, and no heads of keys.
        shape = {**shape, "intermediate_size": None}
        del shape["num_key_value_heads"], shape["head_dim"]
    return {**settings, **{key: value for key, value in shape.items() if key not in given}}


if __name__ == "__main__":
    from foundation import cli
    from model.preset_table import main

    cli.run(main)
