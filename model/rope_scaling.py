"""Rotary frequencies that were stretched for longer texts than a model was first trained on: linear, or as Llama 3.1's.

Both are given as `transformers` writes them, in `rope_scaling` (4.x) or among `rope_parameters` (5.x).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foundation.errors import UserError

if TYPE_CHECKING:  # `train.py --help` waits for no torch
    from torch import Tensor

KINDS = ("default", "linear", "llama3")


class RopeScaling(BaseModel):
    """How the frequencies are lowered. Only `llama3` has the last three settings, and needs them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rope_type: Literal["linear", "llama3"]
    factor: float = Field(ge=1, allow_inf_nan=False)
    low_freq_factor: float | None = Field(None, gt=0, allow_inf_nan=False)
    high_freq_factor: float | None = Field(None, gt=0, allow_inf_nan=False)
    original_max_position_embeddings: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _own_settings(self) -> Self:
        own = (self.low_freq_factor, self.high_freq_factor, self.original_max_position_embeddings)
        if self.rope_type == "linear" and own != (None, None, None):
            raise ValueError("rope_type linear has a factor and nothing else")
        if self.rope_type == "llama3":
            if self.low_freq_factor is None or self.high_freq_factor is None or own[2] is None:
                raise ValueError(
                    "rope_type llama3 needs low_freq_factor, high_freq_factor and original_max_position_embeddings"
                )
            if self.low_freq_factor >= self.high_freq_factor:
                raise ValueError("low_freq_factor must be below high_freq_factor")
        return self

    def lowered(self, frequencies: Tensor) -> Tensor:
        """Frequencies (D/2,) in radians a position -> those that the model turns by.

        linear divides them all (Chen et al., 2023, arXiv 2306.15595). llama3 divides those whose wave is longer than
        the original context / low_freq_factor, keeps those shorter than the context / high_freq_factor, and goes
        from one to the other between (Llama 3.1's own code; `transformers` computes the same).
        """
        if self.low_freq_factor is None or self.high_freq_factor is None:
            return frequencies / self.factor
        waves = (self.original_max_position_embeddings or 1) * frequencies / (2 * math.pi)  # in the original context
        kept = ((waves - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)).clamp(0, 1)
        return (frequencies / self.factor).lerp(frequencies, kept)

    def to_transformers(self) -> dict[str, Any]:
        """The object that a `config.json` holds, without the base."""
        return self.model_dump(exclude_none=True)


def from_text(value: Any) -> Any:
    """A flag's value is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('give it as JSON, {"rope_type": "linear", "factor": 2} say') from None


def of_config(values: Mapping[str, Any], where: str) -> tuple[dict[str, Any] | None, float | None]:
    """The scaling (None: none) and the base that a `config.json` says, in the words of 4.x or of 5.x.

    `UserError`, naming `where`, for kinds of scaling that our decoder does not have.
    """
    own, old = values.get("rope_parameters") or {}, values.get("rope_scaling") or {}
    for key, found in (("rope_parameters", own), ("rope_scaling", old)):
        if not isinstance(found, Mapping):
            raise UserError(f"{where}: {key} must hold an object, found {found!r}; restore the file")
    named = old or own  # as transformers has it
    kind = named.get("rope_type", named.get("type", "default"))
    if kind not in KINDS:
        raise UserError(
            f"{where}: rope_parameters of the type {kind!r} are not supported (known are {', '.join(KINDS)}); use a "
            "model with one of these"
        )
    partial = named.get("partial_rotary_factor", values.get("partial_rotary_factor"))
    if partial not in (None, 1, 1.0):
        raise UserError(f"{where}: partial_rotary_factor = {partial!r} is not supported; use a model without it")
    base = named.get("rope_theta", values.get("rope_theta", own.get("rope_theta")))
    if kind == "default":
        return None, base
    known = {key: named[key] for key in RopeScaling.model_fields if named.get(key) is not None}
    if kind == "llama3":
        known.setdefault("original_max_position_embeddings", values.get("max_position_embeddings"))
    else:
        known.pop("original_max_position_embeddings", None)
    return {**known, "rope_type": kind}, base
