"""Attention in a window around each token, chunk by chunk (Beltagy et al., Longformer, 2020): linear in the length.

The tokens of all rows stand in one line, cut into chunks as long as the window reaches. A chunk's tokens look at it and
at the chunks on both sides; a mask hides what is too far away or belongs to another piece.

Axes: B batch, T tokens, H heads, P chunks, S tokens of a chunk, D head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import pad


def chunk_mask(starts: Tensor, window: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of chunks, (P, S, 3 * S) of `dtype`: 0 where a token is seen, else -inf.

    `starts` (B * T,) tells where each token's piece begins in the line of all tokens.
    """
    size = max(window, 1)
    starts = pad(starts, (0, -len(starts) % size), value=-1).view(-1, size)  # (P, S)
    around = three_chunks(pad(starts, (0, 0, 1, 1), value=-2)[..., None])[..., 0]  # (P, 3 * S)
    places = torch.arange(-size, 2 * size, device=starts.device)  # of the columns, as seen from the chunk
    near = (places[size : 2 * size, None] - places).abs() <= window  # (S, 3 * S)
    seen = near & (starts[:, :, None] == around[:, None])
    return torch.where(seen, 0.0, -torch.inf).to(dtype)


def three_chunks(padded: Tensor) -> Tensor:
    """Every chunk between its neighbours: (P + 2, ..., S, D), an empty chunk at both ends -> (P, ..., 3 * S, D)."""
    return torch.cat([padded[:-2], padded[1:-1], padded[2:]], dim=-2)


def attend_chunks(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Attention (B, H, T, D) of queries, keys and values (B, H, T, D) under the mask that `chunk_mask` made."""
    (B, H, T, D), (P, S, _) = queries.shape, mask.shape

    def chunks(x: Tensor, empty: int) -> Tensor:
        line = x.transpose(1, 2).reshape(B * T, H, D)
        line = pad(line, (0, 0, 0, 0, empty * S, P * S - B * T + empty * S))
        return line.view(P + 2 * empty, S, H, D).transpose(1, 2)  # (P, H, S, D)

    around, content = (three_chunks(chunks(x, 1)) for x in (keys, values))  # (P, H, 3 * S, D)
    scores = torch.matmul(chunks(queries * D**-0.5, 0), around.transpose(2, 3))  # (P, H, S, 3 * S)
    weights = drop(torch.softmax(scores + mask[:, None], dim=-1), dropout)
    mixed = torch.matmul(weights, content)  # (P, H, S, D)
    return mixed.transpose(1, 2).reshape(P * S, H, D)[: B * T].view(B, T, H, D).transpose(1, 2)
