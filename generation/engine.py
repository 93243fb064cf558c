"""Decoding: several prompts read at once, then a token a step for every row that has not ended.

Costs: with a cache, one pass over the prompts and then one token a row and step; without, every step reads
every row again from its start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from generation.config import GenerationConfig
from generation.sampler import Sampler
from model.decoder import Decoder
from model.kv_cache import KVCache


class Reader(Protocol):
    """How a batch of growing rows is read: logits (B, V) of what follows each row."""

    def start(self, rows: Sequence[Sequence[int]]) -> Tensor: ...

    def extend(self, tokens: Sequence[int]) -> Tensor: ...

    def keep(self, rows: Sequence[int]) -> None: ...


class CachedReader:
    """Reads every token once. `cache` may already hold the same number of tokens of each row."""

    def __init__(self, model: Decoder, cache: KVCache) -> None:
        self._model, self._cache = model, cache

    def start(self, rows: Sequence[Sequence[int]]) -> Tensor:
        held = self._cache.lengths
        logits = read_ends(self._model, [row[n:] for row, n in zip(rows, held, strict=True)], self._cache)
        self._cache.truncate([len(row) for row in rows])
        return logits

    def extend(self, tokens: Sequence[int]) -> Tensor:
        column = torch.tensor(tokens, device=self._cache.keys.device)[:, None]  # (B, 1)
        return self._model.head(self._model.hidden(column, cache=self._cache)[:, 0])

    def keep(self, rows: Sequence[int]) -> None:
        self._cache.keep(rows)


class PlainReader:
    """Reads every row from its start at every step."""

    def __init__(self, model: Decoder) -> None:
        self._model = model
        self._rows: list[list[int]] = []

    def start(self, rows: Sequence[Sequence[int]]) -> Tensor:
        self._rows = [list(row) for row in rows]
        return read_ends(self._model, self._rows, None)

    def extend(self, tokens: Sequence[int]) -> Tensor:
        return self.start([[*row, token] for row, token in zip(self._rows, tokens, strict=True)])

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]


def read_ends(model: Decoder, rows: Sequence[Sequence[int]], cache: KVCache | None) -> Tensor:
    """Logits (B, V) after the last token of each row. Rows are padded on the right, where nothing looks."""
    device = model.head_weight.device
    longest = max(len(row) for row in rows)
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)  # (B, T)
    hidden = model.hidden(tokens, cache=cache)  # (B, T, C)
    ends = torch.tensor([len(row) - 1 for row in rows], device=device)
    return model.head(hidden[torch.arange(len(rows), device=device), ends])


@torch.inference_mode()
def generate_tokens(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    *,
    stop: Collection[int] = (),
    seeds: Sequence[int | None] | None = None,
    cache: KVCache | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Yield, step by step, (row, token) of every row that goes on.

    A row ends before a token of `stop` (which is not yielded), after `max_new_tokens`, or when prompt and
    output fill the model's context. Prompts hold at least one token and fewer than the context. `seeds` (one
    a row) default to the configuration's. A `cache` that holds the start of each prompt saves reading it
    again; rows that ended are dropped from it.
    """
    limit = model.config.max_position_embeddings
    assert all(0 < len(prompt) < limit for prompt in prompts), "prompts must leave room in the context"
    seeds = [config.seed] * len(prompts) if seeds is None else seeds
    device, dtype = model.head_weight.device, model.head_weight.dtype
    room = [min(config.max_new_tokens, limit - len(prompt)) for prompt in prompts]
    reader: Reader
    if cache is None and config.use_cache:
        capacity = min(limit, max(len(prompt) for prompt in prompts) + config.max_new_tokens)
        cache = KVCache(model.config, len(prompts), capacity, device=device, dtype=dtype)
    reader = CachedReader(model, cache) if cache is not None else PlainReader(model)
    sampler = Sampler(config, prompts, seeds, model.vocab_size, device)
    active = list(range(len(prompts)))
    logits = reader.start(prompts)
    while True:
        tokens = sampler.choose(logits)
        events = [(row, token) for row, token in zip(active, tokens, strict=True) if token not in stop]
        yield events
        for row, _ in events:
            room[row] -= 1
        going = [place for place, token in enumerate(tokens) if token not in stop and room[active[place]] > 0]
        if not going:
            return
        if len(going) < len(active):
            reader.keep(going)
            sampler.keep(going)
            active = [active[place] for place in going]
            tokens = [tokens[place] for place in going]
        logits = reader.extend(tokens)
