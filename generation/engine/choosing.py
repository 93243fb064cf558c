"""The sampler of rows that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from generation.config import GenerationConfig
from generation.sampler import Sampler as RowSampler


class Choice(NamedTuple):
    """A chosen token."""

    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Sampler:
    """One sampler a row."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._vocab_size, self._device = vocab_size, device
        self._rows: dict[int, RowSampler] = {}

    def add(self, row: int, prompt: Sequence[int], config: GenerationConfig, seed: int | None) -> None:
        """A row begins."""
        self._rows[row] = RowSampler(config, [prompt], [seed], self._vocab_size, self._device)

    def remove(self, row: int) -> None:
        """A row ends."""
        del self._rows[row]

    def choose(self, logits: Tensor, rows: Sequence[int]) -> list[Choice]:
        """The next token of each row, for logits (B, V)."""
        return [Choice(self._rows[row].choose(logits[n : n + 1])[0]) for n, row in enumerate(rows)]
