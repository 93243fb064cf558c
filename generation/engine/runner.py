"""How the engine reads tokens: the interface of its runners, and the one that needs nothing but torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from model.decoder import Decoder
from model.kv_cache import KVCache


class Part(NamedTuple):
    """Tokens to read after what a slot holds."""

    slot: int
    tokens: Sequence[int]
    wanted: int = 1
    """Logits after how many of the last tokens are needed; 0: none, the prompt goes on."""


class Runner(Protocol):
    """A model over a cache of slots."""

    def read(self, parts: Sequence[Part]) -> Tensor:
        """Read each part into its slot; logits (M, V) after the wanted tokens, part by part.

        No slot may come twice. The cache has room and counts the tokens as held afterwards. The logits may be
        overwritten by the next call.
        """
        ...


class EagerRunner:
    """Single tokens of several slots in one pass of the model, longer parts one by one: nothing is padded."""

    def __init__(self, model: Decoder, cache: KVCache) -> None:
        self._model, self._cache = model, cache

    def read(self, parts: Sequence[Part]) -> Tensor:
        """As `Runner.read`."""
        hidden: dict[int, Tensor] = {}  # by slot: (wanted, C)
        singles = [part for part in parts if len(part.tokens) == 1]
        if singles:
            states = self._hidden([part.slot for part in singles], [part.tokens for part in singles])
            hidden |= {part.slot: state[: part.wanted] for part, state in zip(singles, states, strict=True)}
        for part in parts:
            if len(part.tokens) > 1:
                states = self._hidden([part.slot], [part.tokens])
                hidden[part.slot] = states[0, len(part.tokens) - part.wanted :]
        return self._model.head(torch.cat([hidden[part.slot] for part in parts]))

    def _hidden(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        self._cache.select(slots)
        return self._model.hidden(torch.tensor(tokens, device=self._model.device), cache=self._cache)  # (B, T, C)
