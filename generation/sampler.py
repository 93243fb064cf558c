"""Choosing the next token of several rows, each with its own history and its own chance."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foundation.streams import generator
from generation import sampling
from generation.config import GenerationConfig
from generation.ngrams import NGramIndex


class Sampler:
    """The logits processors of a configuration, over the rows still being generated.

    A row's numbers of chance come from its own seed alone, one a token, so its text does not depend on the
    rows beside it.
    """

    def __init__(
        self,
        config: GenerationConfig,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int | None],
        vocab_size: int,
        device: torch.device,
    ) -> None:
        self._config = config
        self._step = 0
        self._seen: Tensor | None = None  # (B, V) bool: tokens of prompt and output, padding never among them
        if config.repetition_penalty != 1:
            self._seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool)
            for row, prompt in enumerate(prompts):
                self._seen[row, torch.tensor(prompt)] = True
            self._seen = self._seen.to(device)
        size = config.no_repeat_ngram_size
        self._ngrams = [NGramIndex(size, prompt) for prompt in prompts] if size else []
        self._uniforms: Tensor | None = None  # (B, steps) float64
        if not config.greedy:
            numbers = [_uniforms(seed, config.max_new_tokens) for seed in seeds]
            self._uniforms = torch.from_numpy(np.stack(numbers))

    def choose(self, logits: Tensor) -> list[int]:
        """The next token of each row, for logits (B, V) of any floating dtype; remembers it."""
        config = self._config
        scores = logits.float()
        if self._seen is not None:
            scores = sampling.penalise_repetition(scores, self._seen, config.repetition_penalty)
        if self._ngrams:
            scores = sampling.ban_tokens(scores, [index.banned() for index in self._ngrams])
        if self._uniforms is None:
            chosen = sampling.choose_greedily(scores)
        else:
            scores = scores / config.temperature
            if config.top_k:
                scores = sampling.keep_top_k(scores, config.top_k)
            if config.top_p < 1:
                scores = sampling.keep_top_p(scores, config.top_p)
            chosen = sampling.choose_at(scores, self._on(scores.device, self._uniforms[:, self._step]))
        self._step += 1
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        tokens: list[int] = chosen.tolist()
        for index, token in zip(self._ngrams, tokens, strict=bool(self._ngrams)):
            index.push(token)
        return tokens

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        kept = list(rows)
        self._ngrams = [self._ngrams[row] for row in kept] if self._ngrams else []
        self._seen = None if self._seen is None else self._seen[kept]
        self._uniforms = None if self._uniforms is None else self._uniforms[kept]

    @staticmethod
    def _on(device: torch.device, uniforms: Tensor) -> Tensor:
        return uniforms.float().to(device) if device.type == "mps" else uniforms.to(device)


def _uniforms(seed: int | None, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    chance = generator(secrets.randbits(62) if seed is None else seed, "generation")
    return chance.random(count)
