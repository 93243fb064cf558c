"""Attention in both directions, within the pieces of a row and, on request, within a window around each token.

`segments` are the borders of pieces as in `model.documents`: the tokens of a piece see each other and nobody else.
Several ways lead to the same result; device, dtype, length and width decide which one is the fastest (`Layout.way`).

Axes: B batch, T tokens, H heads, D head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.documents import attend_varlen, positions_within, varlen_serves
from model.encoder.chunks import attend_chunks, chunk_mask
from model.encoder.pieces import attend_pieces, pieces_pay

Way = Literal["mask", "pieces", "chunks", "varlen"]


class Layout:
    """Where the pieces of a batch lie, and the masks that follow: made once for all layers of a forward pass.

    positions: (B, T) int64, each token's place in its own piece.
    segments: (pieces + 1,) int32, or None where every row is one piece.
    dtype, head_size: of the queries, and their last axis.
    """

    def __init__(self, positions: Tensor, segments: Tensor | None, dtype: torch.dtype, head_size: int) -> None:
        self.positions, self.segments, self.dtype, self.head_size = positions, segments, dtype, head_size
        self._visible: dict[int | None, Tensor | None] = {}
        self._chunks: dict[int, Tensor] = {}

    @classmethod
    def of(
        cls,
        segments: Tensor | None,
        batch: int,
        length: int,
        device: torch.device,
        dtype: torch.dtype,
        head_size: int,
        windows: Sequence[int | None] = (),
        dropout: float = 0.0,
    ) -> Layout:
        """The layout of (batch, length) tokens whose queries will have `dtype` and a last axis of `head_size`.

        `windows` and `dropout` are those that `attend` will be asked for: their masks are made here, outside the
        layers, where layers that are computed again find them ready. Others are made when they are needed.
        """
        if segments is None:
            positions = torch.arange(length, device=device).expand(batch, length)
        else:
            positions = positions_within(segments, batch, length)
        layout = cls(positions, segments, dtype, head_size)
        for window in windows:
            way = layout.way(window, dropout)
            if way == "mask":
                layout.visible(window)
            elif way == "chunks" and window is not None:
                layout.chunks(window)
        return layout

    def way(self, window: int | None, dropout: float) -> Way:
        """How attention over this window is computed."""
        kind, T = self.positions.device.type, self.positions.shape[1]
        narrow = window is not None and window < T - 1
        if kind == "cpu" and narrow:
            return "chunks"
        if kind == "cpu" and pieces_pay(self.dtype, T, self.segments is not None, dropout > 0):
            return "pieces"
        if kind == "cuda" and not dropout and (narrow or self.segments is not None):  # else the fused kernel serves
            return "varlen" if varlen_serves(self.positions.device, self.dtype, self.head_size) else "mask"
        return "mask"

    def borders(self) -> Tensor:
        """`segments`, also where every row is one piece."""
        if self.segments is not None:
            return self.segments
        B, T = self.positions.shape
        return torch.arange(0, B * T + 1, T, dtype=torch.int32, device=self.positions.device)

    def visible(self, window: int | None) -> Tensor | None:
        """Which columns each token sees, (B or 1, 1, T, T) bool; None: all of its row."""
        if window not in self._visible:
            columns = torch.arange(self.positions.shape[1], device=self.positions.device)  # (T,)
            seen = None
            if self.segments is not None:
                starts = columns - self.positions  # (B, T): the column at which each token's piece begins
                seen = starts[:, :, None] == starts[:, None, :]  # (B, T, T)
            if window is not None:
                near = ((columns[:, None] - columns).abs() <= window)[None]  # (1, T, T)
                seen = near if seen is None else seen & near
            self._visible[window] = None if seen is None else seen[:, None]
        return self._visible[window]

    def chunks(self, window: int) -> Tensor:
        """The mask of `attend_chunks`."""
        if window not in self._chunks:
            line = torch.arange(self.positions.numel(), device=self.positions.device)
            self._chunks[window] = chunk_mask(line - self.positions.flatten(), window, self.dtype)
        return self._chunks[window]


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, layout: Layout, window: int | None = None, dropout: float = 0.0
) -> Tensor:
    """What each token gathers from its piece, (B, H, T, D), of queries, keys and values (B, H, T, D).

    `window`: only from tokens at most so many places away; None: from the whole piece. `dropout` is the share of
    attention weights that are dropped.
    """
    way = layout.way(window, dropout)
    if way == "pieces":
        return attend_pieces(queries, keys, values, layout.borders(), dropout)
    if way == "chunks" and window is not None:
        return attend_chunks(queries, keys, values, layout.chunks(window), dropout)
    if way == "varlen":
        reach = (-1, -1) if window is None else (window, window)
        return attend_varlen(queries, keys, values, layout.borders(), reach)
    return scaled_dot_product_attention(queries, keys, values, attn_mask=layout.visible(window), dropout_p=dropout)
