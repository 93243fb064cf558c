"""Architectures by name; `python -m model.presets` prints what each costs.

The names from 3m to 60m say their parameters with a vocabulary of 32,000, 124m and 350m with GPT-2's 50,257. micro-v1
to micro-v4 have the layers, heads and widths of MicroBERT's four sizes.
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


def _shape(layers: int, heads: int, groups: int, width: int, inner: int) -> dict[str, int | None]:
    return dict(zip(KEYS, (layers, heads, groups, width, inner, None), strict=True))


PRESETS: Mapping[str, Mapping[str, int | None]] = {
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
}
"""Preset -> the settings of its architecture, all of `KEYS`."""


def merged(name: Any, settings: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """`settings` of the model with the architecture of the preset `name` in place of their own, but for those `given`
    on the command line. Any name that is no preset leaves them as they are."""
    shape = PRESETS.get(name, {}) if isinstance(name, str) else {}
    return {**settings, **{key: value for key, value in shape.items() if key not in given}}


if __name__ == "__main__":
    from foundation import cli
    from model.preset_table import main

    cli.run(main)
