"""What an encoder answers, as plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """A token that may stand in the place of a mask."""

    token: str
    """As text; `##` begins a token that continues a word, a blank one that begins a word."""
    token_id: int
    logit: float
    probability: float


@dataclass(frozen=True)
class FilledMask:
    """The likeliest tokens of one mask, the likeliest first."""

    position: int
    """The mask's place in the text's tokens, of which [CLS] is number 0."""
    predictions: list[Guess]


@dataclass(frozen=True)
class Classification:
    """A text's class."""

    label: str
    predicted_class: int
    """The label's number."""
    confidence: float
    """The label's probability."""
    probabilities: dict[str, float]
    calibrated: bool
    """Whether a temperature fitted on validation texts stands behind the probabilities (Guo et al. 2017)."""
