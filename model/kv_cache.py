"""Keys and values of the tokens a model has read, in slots: one slot a text, each of its own length.

Column j of a slot holds the token at position j, so a slot is the same whatever slots lie beside it. Texts of
different lengths may be read together, padded on the right: causal attention never sees the padding, `truncate` then
forgets it, and the next token of each slot overwrites it.

Axes: L layers, N slots, G key and value heads, S columns, D head; B slots being read, T tokens of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model.config import ModelConfig

GROWTH = 64  # columns; smaller steps would copy too often


class TokenCache(Protocol):
    """What a decoder asks of a cache while it reads."""

    def begin(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Start reading `count` tokens of each text: their positions, and which columns each may attend to."""
        ...

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, G, T, D) of the tokens being read; return all that may be attended to, (B, G, S', D)."""
        ...

    def finish(self) -> None:
        """All layers have read the tokens."""
        ...


class KVCache:
    """Room for `capacity` tokens in each of `slots`; `reserve` makes more."""

    def __init__(
        self, config: ModelConfig, slots: int, capacity: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._limit = config.max_position_embeddings
        shape = (config.num_hidden_layers, slots, config.num_key_value_heads, capacity, config.head_size)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (L, N, G, S, D)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths: list[int] = [0] * slots  # on the host: nothing here waits for the device
        self._slots = list(range(slots))  # the ones being read
        self._columns: Tensor | None = None  # (B, T) of the tokens being read; None: the same slice in each slot
        self._span = (0, 0)

    @property
    def slots(self) -> int:
        """Texts that can be held."""
        return self.keys.shape[1]

    @property
    def capacity(self) -> int:
        """Tokens a slot can hold."""
        return self.keys.shape[3]

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self.keys.nbytes + self.values.nbytes

    def reserve(self, slots: int, capacity: int) -> None:
        """Make room for at least so many texts of so many tokens; what is held stays. Twice as much at a time."""
        if slots <= self.slots and capacity <= self.capacity:
            return
        if capacity > self.capacity:
            doubled = max(capacity, 2 * self.capacity, GROWTH)
            capacity = max(capacity, min(self._limit, -(-doubled // GROWTH) * GROWTH))
        slots, capacity = max(slots, self.slots), max(capacity, self.capacity)
        held = max(self.lengths, default=0)
        for name in ("keys", "values"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros((old.shape[0], slots, old.shape[2], capacity, old.shape[4]))
            new[:, : old.shape[1], :, :held] = old[:, :, :, :held]
            setattr(self, name, new)
        self.lengths += [0] * (slots - len(self.lengths))

    def copy(self, source: int, target: int, count: int) -> None:
        """Let slot `target` hold the first `count` tokens of slot `source`, and nothing else."""
        assert count <= self.lengths[source]
        for held in (self.keys, self.values):
            held[:, target, :, :count] = held[:, source, :, :count]
        self.lengths[target] = count

    def select(self, slots: Sequence[int]) -> None:
        """What is read next goes to these slots, in this order."""
        self._slots = list(slots)

    def begin(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Start reading `count` tokens for each selected slot.

        Returns their positions, (T,) or (B, T) int64, and which columns each may attend to, bool (T, S') or
        (B, 1, T, S'); None where plain causal attention or attention to everything says the same.
        """
        lengths = [self.lengths[slot] for slot in self._slots]
        low, high = min(lengths), max(lengths)
        assert high + count <= self.capacity, f"{high} + {count} tokens in a cache of {self.capacity}"
        device = self.keys.device
        self._span = (high, high + count)
        if low == high:
            self._columns = None
            positions = torch.arange(high, high + count, device=device)
            if high == 0 or count == 1:
                return positions, None
        else:
            starts = torch.tensor(lengths, device=device)
            self._columns = positions = starts[:, None] + torch.arange(count, device=device)  # (B, T)
        visible = torch.arange(high + count, device=device) <= positions[..., None]  # (T, S') or (B, T, S')
        return positions, visible if visible.dim() == 2 else visible[:, None]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, G, T, D) of the tokens being read; return all columns up to the longest slot's end."""
        return self._store(self.keys[layer], keys), self._store(self.values[layer], values)

    def _store(self, held: Tensor, new: Tensor) -> Tensor:
        start, stop = self._span
        first = self._slots[0]
        neighbours = self._slots == list(range(first, first + len(self._slots)))
        if neighbours:
            held = held[first : first + len(self._slots)]  # (B, G, S, D), the slots themselves
        if neighbours and self._columns is None:
            held[:, :, start:stop] = new
            return held[:, :, :stop]
        rows = torch.tensor(range(len(self._slots)) if neighbours else self._slots, device=held.device)[:, None]
        columns = torch.arange(start, stop, device=held.device) if self._columns is None else self._columns
        held[rows, :, columns] = new.transpose(1, 2)  # advanced indices bring (B, T) to the front
        return held[:, :, :stop] if neighbours else held[rows[:, 0], :, :stop]

    def finish(self) -> None:
        """Count the tokens read since `begin` as held."""
        start, stop = self._span
        for slot in self._slots:
            self.lengths[slot] += stop - start

    def truncate(self, lengths: Sequence[int]) -> None:
        """Forget what lies beyond `lengths`, one for each slot: padding of a ragged batch, or the end of a text."""
        assert len(lengths) == len(self.lengths)
        assert all(new <= old for new, old in zip(lengths, self.lengths, strict=True))
        self.lengths = list(lengths)
