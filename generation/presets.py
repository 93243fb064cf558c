"""Named sets of sampling options: creative, chat, factual."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_PLAIN: Mapping[str, Any] = {
    "do_sample": True,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # min-p lets a flat distribution be flat and keeps nonsense out of a sharp one (Nguyen et al., 2024).
    "creative": {**_PLAIN, "temperature": 1.0, "min_p": 0.05, "repetition_penalty": 1.05},
    "chat": {**_PLAIN, "temperature": 0.7, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1},
    "factual": {**_PLAIN, "temperature": 0.2, "top_k": 20, "top_p": 0.9},
}


def merged(name: Any, options: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """`options` with those of the preset `name` in their place, but for the `given` ones. Any name that is no preset
    leaves them as they are."""
    values = PRESETS.get(name, {}) if isinstance(name, str) else {}
    return {**options, **{key: value for key, value in values.items() if key not in given}}
