"""Choosing the next token of several rows, each with its own options, its own history and its own chance."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foundation.streams import generator
from generation import sampling
from generation.candidates import Filter, draw
from generation.config import GenerationConfig
from generation.finite import check_finite
from generation.ngrams import NGramIndex
from generation.seen import SeenTokens, penalised


class Choice(NamedTuple):
    """A chosen token."""

    token: int
    logprob: float | None = None
    """Its log-probability as the model gave it, before penalties and temperature, where the options ask for it."""
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their log-probabilities, likeliest first."""


class Chance:
    """A row's numbers of chance, one a token, from its own seed alone."""

    BLOCK = 256

    def __init__(self, seed: int | None) -> None:
        self._source = generator(secrets.randbits(62) if seed is None else seed, "generation")
        self._numbers: list[float] = []  # the last one comes first

    def next(self) -> float:
        """The next one, in [0, 1)."""
        if not self._numbers:
            self._numbers = self._source.random(self.BLOCK).tolist()[::-1]
        return self._numbers.pop()


class _Row:
    """What the options of a row need to remember of it."""

    def __init__(self, prompt: Sequence[int], config: GenerationConfig, seed: int | None) -> None:
        self.config = config
        self.filter = Filter(config.temperature, config.top_k, config.top_p, config.min_p)
        self.chance = None if config.greedy else Chance(seed)
        size = config.no_repeat_ngram_size
        self.ngrams = NGramIndex(size, prompt) if size else None
        penalties = (config.repetition_penalty, config.presence_penalty, config.frequency_penalty)
        self.seen = SeenTokens(prompt, *penalties) if penalties != (1, 0, 0) else None
        self.plain = config.greedy and self.ngrams is None and self.seen is None and config.logprobs is None

    def push(self, token: int) -> None:
        if self.ngrams is not None:
            self.ngrams.push(token)
        if self.seen is not None:
            self.seen.push(token)


class Sampler:
    """The logits processors of `transformers`, in its order, over rows that come and go.

    A row's token depends on its own logits, history and seed, never on the rows beside it. OpenAI's penalties come
    right after the one of repetition.
    """

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._vocab_size, self._device = vocab_size, device
        self._rows: dict[int, _Row] = {}

    def add(self, row: int, prompt: Sequence[int], config: GenerationConfig, seed: int | None) -> None:
        """A row begins after `prompt`; without a seed its chance is a new one each time."""
        self._rows[row] = _Row(prompt, config, seed)

    def remove(self, row: int) -> None:
        """A row ends."""
        del self._rows[row]

    def plain(self, rows: Sequence[int]) -> bool:
        """Whether these rows take their likeliest token and nothing else: then `choose` need not be asked."""
        return all(self._rows[row].plain for row in rows)

    def choose(self, logits: Tensor, rows: Sequence[int]) -> list[Choice]:
        """The next token of each row, for logits (B, V) of any floating dtype; remembers it.

        `UserError` where the model gave no numbers.
        """
        states = [self._rows[row] for row in rows]
        if all(state.plain for state in states):
            best = sampling.choose_greedily(logits)
            check_finite(logits.gather(-1, best[:, None])[:, 0], "logits")
            return [Choice(token) for token in best.tolist()]
        raw = logits.float()
        check_finite(raw.amax(dim=-1), "logits")
        tokens: list[int] = self._pick(self._processed(raw, states), states).tolist()
        for state, token in zip(states, tokens, strict=True):
            state.push(token)
        return [
            Choice(token) if state.config.logprobs is None else _with_logprobs(raw[n], token, state.config.logprobs)
            for n, (state, token) in enumerate(zip(states, tokens, strict=True))
        ]

    def _processed(self, scores: Tensor, states: Sequence[_Row]) -> Tensor:
        """Penalties and bans: (B, V) -> (B, V). Where all tokens would be banned, none is."""
        seen = [(n, state.seen) for n, state in enumerate(states) if state.seen is not None]
        if seen:
            scores = penalised(scores, seen)
        banned = [state.ngrams.banned() if state.ngrams else set() for state in states]
        if any(banned):
            scores = sampling.ban_tokens(scores, [ids if len(ids) < self._vocab_size else () for ids in banned])
        return scores

    def _pick(self, scores: Tensor, states: Sequence[_Row]) -> Tensor:
        drawn = [n for n, state in enumerate(states) if state.chance is not None]
        if not drawn:
            return sampling.choose_greedily(scores)
        numbers = [state.chance.next() for state in states if state.chance is not None]
        uniforms = torch.tensor(numbers, dtype=sampling.chance_dtype(scores.device), device=scores.device)
        filters = [states[n].filter for n in drawn]
        if len(drawn) == len(states):
            return draw(scores, filters, uniforms)
        tokens = sampling.choose_greedily(scores)
        tokens[drawn] = draw(scores[drawn], filters, uniforms)
        return tokens


def _with_logprobs(logits: Tensor, token: int, count: int) -> Choice:
    """A choice with log-probabilities under `logits` (V,)."""
    logprobs = logits.log_softmax(dim=-1)
    values, ids = logprobs.topk(min(count, len(logprobs)))
    return Choice(token, float(logprobs[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))
