"""What the engine is asked for, and what it answers: one token after the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from generation.config import GenerationConfig

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Request:
    """A prompt to continue."""

    prompt: Sequence[int]
    """At least one token, and fewer than the model's context has."""
    config: GenerationConfig
    seed: int | None = None
    """Same seed and prompt, same text; None: a new one each time. (The configuration's own seed is not looked at.)"""
    stop: Collection[int] = ()
    """Tokens that end the text and are no part of it."""


@dataclass(frozen=True, slots=True)
class Token:
    """The next token of one request's text."""

    request: int
    """The number that `Engine.submit` gave, or the place in what `Engine.stream` was given."""
    token: int | None
    """None: the text ended at a stop token before anything more."""
    logprob: float | None = None
    """Natural logarithm of the token's probability, where the configuration asks for it."""
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their logarithms, likeliest first."""
    finish: Finish | None = None
    """Why the text ended, with its last token: at a stop token, or as long as it may be (the context may be full)."""
