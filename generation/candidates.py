"""Drawing the next token from its likeliest candidates, without sorting a whole vocabulary.

Top-k, top-p and min-p leave few of many tokens. All of them are among the M likeliest when the M-th itself is not left;
the few rows where it is go the plain way. Costs per row one selection of M in V, and a sum over V without top-k.

Axes: B rows, V vocabulary, M candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generation import sampling

FEW, MANY = 128, 1024
BESIDE_K = 64  # candidates beyond top-k: logits of half precision often tie with the last one
NEVER = sampling.NEVER


@dataclass(frozen=True)
class Filter:
    """Which tokens a row may draw from, in the order of `transformers`."""

    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    @property
    def candidates(self) -> int:
        """How many candidates are likely to be enough; 0: all tokens may be drawn."""
        if 0 < self.top_k <= MANY - BESIDE_K:
            return FEW if self.top_k <= FEW - BESIDE_K else MANY
        return MANY if self.top_p < 1 or self.min_p > 0 else 0


def draw(logits: Tensor, filters: Sequence[Filter], uniforms: Tensor) -> Tensor:
    """One token a row, at `uniforms` (B,) float64 in [0, 1): (B, V) float32 -> (B,) int64.

    Tokens lie in the order of the vocabulary along the line that a number of chance points into: a row's token does not
    depend on which way it went, nor do logits that change places by rounding move the others.
    """
    scores = logits / _column([one.temperature for one in filters], logits)
    tokens = torch.empty(len(filters), dtype=torch.int64, device=logits.device)
    plain = []
    for count in (0, FEW, MANY):
        rows = [row for row, one in enumerate(filters) if one.candidates == count]
        if not rows:
            continue
        if not count or 2 * count > logits.shape[-1]:
            plain += rows
            continue
        part = scores if len(rows) == len(filters) else scores[rows]
        kept, ids = candidates(part, [filters[row] for row in rows], count)
        order = ids.argsort(dim=-1)
        chosen = sampling.choose_at(kept.gather(-1, order), uniforms[rows])
        tokens[rows] = ids.gather(-1, order.gather(-1, chosen[:, None]))[:, 0]
        open_ended = (kept[:, -1] > NEVER).tolist()
        plain += [row for row, more in zip(rows, open_ended, strict=True) if more]
    for row in plain:
        tokens[row] = sampling.choose_at(keep(scores[row : row + 1], filters[row]), uniforms[row : row + 1])[0]
    return tokens


def keep(scores: Tensor, one: Filter) -> Tensor:
    """The plain way: (B, V) after the temperature -> (B, V), -inf where a token may not be drawn."""
    if one.top_k:
        scores = sampling.keep_top_k(scores, one.top_k)
    if one.top_p < 1:
        scores = sampling.keep_top_p(scores, one.top_p)
    if one.min_p > 0:
        scores = sampling.keep_min_p(scores, one.min_p)
    return scores


def candidates(scores: Tensor, filters: Sequence[Filter], count: int) -> tuple[Tensor, Tensor]:
    """The `count` likeliest tokens of each row, -inf where one may not be drawn, and their ids: (B, M) twice.

    A row whose last candidate may be drawn may have more tokens than these.
    """
    values, ids = scores.topk(count, dim=-1)  # likeliest first
    whole = torch.tensor([not one.top_k for one in filters], device=scores.device)
    last = torch.tensor([[one.top_k - 1 if one.top_k else count - 1] for one in filters], device=scores.device)
    kept = values.masked_fill(values < values.gather(-1, last), NEVER)
    if any(one.top_p < 1 or one.min_p > 0 for one in filters):
        total = kept.logsumexp(dim=-1, keepdim=True)
        if any(not one.top_k for one in filters):
            total = torch.where(whole[:, None], scores.logsumexp(dim=-1, keepdim=True), total)
        chances = (kept - total).exp()
        beyond = (1 - chances.sum(dim=-1, keepdim=True)).clamp(min=0) * whole[:, None]  # what no candidate has
        at_most = beyond + chances.flip(-1).cumsum(dim=-1).flip(-1)  # chance of a token and all less likely ones
        remove = at_most <= _column([1 - one.top_p if one.top_p < 1 else -1.0 for one in filters], scores)
        remove |= chances < _column([one.min_p for one in filters], scores) * chances[:, :1]
        remove[:, 0] = False
        kept = kept.masked_fill(remove, NEVER)
    return kept, ids


def _column(numbers: Sequence[float], beside: Tensor) -> Tensor:
    """(B, 1), on the device of `beside`."""
    return torch.tensor(numbers, dtype=torch.float32, device=beside.device)[:, None]
