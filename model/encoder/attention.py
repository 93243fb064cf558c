"""Attention in both directions, within the pieces of a row and, on request, within a window around each token.

`segments` are the borders of pieces as in `model.documents`: the tokens of a piece see each other and nobody else.

Axes: B batch, T tokens, H heads, D head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.documents import positions_within


class Layout:
    """Where the pieces of a batch lie: made once for all layers of a forward pass.

    positions: (B, T) int64, each token's place in its own piece.
    segments: (pieces + 1,) int32, or None where every row is one piece.
    """

    def __init__(self, positions: Tensor, segments: Tensor | None) -> None:
        self.positions, self.segments = positions, segments
        self._visible: dict[int | None, Tensor | None] = {}

    @classmethod
    def of(
        cls,
        segments: Tensor | None,
        batch: int,
        length: int,
        device: torch.device,
        dtype: torch.dtype,
        windows: Sequence[int | None] = (),
    ) -> Layout:
        """The layout of (batch, length) tokens whose queries will have `dtype`.

        `windows` are those that `attend` will be asked for. Named here, their masks are made outside the layers, where
        recomputed layers find them ready.
        """
        if segments is None:
            positions = torch.arange(length, device=device).expand(batch, length)
        else:
            positions = positions_within(segments, batch, length)
        layout = cls(positions, segments)
        for window in windows:
            layout.visible(window)
        return layout

    def visible(self, window: int | None) -> Tensor | None:
        """Which columns each token sees, (B or 1, 1, T, T) bool; None: all of its row."""
        if window not in self._visible:
            self._visible[window] = self._make_visible(window)
        return self._visible[window]

    def _make_visible(self, window: int | None) -> Tensor | None:
        columns = torch.arange(self.positions.shape[1], device=self.positions.device)  # (T,)
        seen = None
        if self.segments is not None:
            starts = columns - self.positions  # (B, T): the column at which each token's piece begins
            seen = starts[:, :, None] == starts[:, None, :]  # (B, T, T)
        if window is not None:
            near = ((columns[:, None] - columns).abs() <= window)[None]  # (1, T, T)
            seen = near if seen is None else seen & near
        return None if seen is None else seen[:, None]


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, layout: Layout, window: int | None = None, dropout: float = 0.0
) -> Tensor:
    """What each token gathers from its piece, (B, H, T, D), of queries, keys and values (B, H, T, D).

    `window`: only from tokens at most so many places away; None: from the whole piece. `dropout` is the share of
    attention weights that are dropped.
    """
    return scaled_dot_product_attention(queries, keys, values, attn_mask=layout.visible(window), dropout_p=dropout)
