"""Keys and values of the tokens a model has read, preallocated; rows may hold different numbers of tokens.

Column j of a row holds the token at position j, so a row is the same whatever rows lie beside it. Prompts of
different lengths are padded on the right: causal attention never sees the padding, `truncate` then forgets
it, and the next token of each row overwrites it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.config import ModelConfig


class KVCache:
    """Room for `capacity` tokens in each of `batch` rows of every layer."""

    def __init__(
        self, config: ModelConfig, batch: int, capacity: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, capacity, config.head_size)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (L, B, G, S, D)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths: list[int] = [0] * batch  # on the host: nothing here waits for the device
        self._columns: Tensor | None = None  # (B, T) of the tokens being read; None: the same slice in each row
        self._span = (0, 0)

    @property
    def capacity(self) -> int:
        """Tokens a row can hold."""
        return self.keys.shape[3]

    def begin(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Start reading `count` tokens a row.

        Returns their positions, (T,) or (B, T) int64, and which columns each may attend to, bool (T, S') or
        (B, 1, T, S'); None where plain causal attention or attention to everything says the same.
        """
        low, high = min(self.lengths), max(self.lengths)
        assert high + count <= self.capacity, f"{high} + {count} tokens in a cache of {self.capacity}"
        device = self.keys.device
        self._span = (high, high + count)
        if low == high:
            self._columns = None
            positions = torch.arange(high, high + count, device=device)
            if high == 0 or count == 1:
                return positions, None
        else:
            starts = torch.tensor(self.lengths, device=device)
            self._columns = positions = starts[:, None] + torch.arange(count, device=device)  # (B, T)
        visible = torch.arange(high + count, device=device) <= positions[..., None]  # (T, S') or (B, T, S')
        return positions, visible if visible.dim() == 2 else visible[:, None]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, G, T, D) of the tokens being read; return all columns up to the longest row's end."""
        start, stop = self._span
        all_keys, all_values = self.keys[layer], self.values[layer]  # (B, G, S, D)
        if self._columns is None:
            all_keys[:, :, start:stop] = keys
            all_values[:, :, start:stop] = values
        else:
            rows = torch.arange(keys.shape[0], device=keys.device)[:, None]
            all_keys[rows, :, self._columns] = keys.transpose(1, 2)  # advanced indices bring (B, T) to the front
            all_values[rows, :, self._columns] = values.transpose(1, 2)
        return all_keys[:, :, :stop], all_values[:, :, :stop]

    def finish(self) -> None:
        """Count the tokens read since `begin` as held."""
        start, stop = self._span
        self.lengths = [length + stop - start for length in self.lengths]

    def truncate(self, lengths: Sequence[int]) -> None:
        """Forget what lies beyond `lengths`: padding of a ragged batch, or the end of a conversation."""
        assert len(lengths) == len(self.lengths)
        assert all(new <= old for new, old in zip(lengths, self.lengths, strict=True))
        self.lengths = list(lengths)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these: sequences that have ended cost nothing more."""
        index = torch.tensor(rows, device=self.keys.device, dtype=torch.int64)
        self.keys, self.values = self.keys.index_select(1, index), self.values.index_select(1, index)
        self.lengths = [self.lengths[row] for row in rows]
