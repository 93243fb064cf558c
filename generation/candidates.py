"""Drawing the next token from its likeliest candidates, without sorting a whole vocabulary.

Top-k, top-p and min-p leave few of many tokens. Candidates are the tokens from some logit on, at least so many a row.
All tokens that may be drawn are among them when the least likely candidate may not be; where it may, a row goes the
plain way. Costs a row one pass over V, and with top-p but no top-k a sum of V exponentials.

Axes: B rows, V vocabulary, N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generation import sampling

FEW, MANY = 64, 512
BLOCK = 32  # tokens of which only the likeliest is looked at first
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
        """How many of the likeliest tokens are probably enough; 0: all tokens may be drawn."""
        if self.top_k:  # more than MANY: the plain way sorts only those
            return FEW if self.top_k <= FEW else MANY if self.top_k <= MANY else 0
        return MANY if self.top_p < 1 or self.min_p > 0 else 0


def draw(logits: Tensor, filters: Sequence[Filter], uniforms: Tensor) -> Tensor:
    """One token a row, at `uniforms` (B,) float64 in [0, 1): (B, V) float32 -> (B,) int64.

    Tokens lie in the order of the vocabulary along the line that a number of chance points into: a row's token does not
    depend on which way it went, nor do logits that change places by rounding move the others.
    """
    tokens = torch.empty(len(filters), dtype=torch.int64, device=logits.device)
    plain = []
    for count in (0, FEW, MANY):
        rows = [row for row, one in enumerate(filters) if one.candidates == count]
        if not rows:
            continue
        if not count or 2 * count > logits.shape[-1]:
            plain += rows
            continue
        part = logits if len(rows) == len(filters) else logits[rows]
        values, ids = likeliest(part, count)
        kept, more = left(values, [filters[row] for row in rows], part)
        chosen = sampling.choose_at(kept, uniforms[rows])
        tokens[rows] = ids.gather(-1, chosen[:, None])[:, 0]
        plain += [row for row, open_ended in zip(rows, more.tolist(), strict=True) if open_ended]
    for row in plain:
        tokens[row] = sampling.choose_at(keep(logits[row : row + 1], filters[row]), uniforms[row : row + 1])[0]
    return tokens


def keep(logits: Tensor, one: Filter) -> Tensor:
    """The plain way: (B, V) -> (B, V) over the temperature, -inf where a token may not be drawn."""
    scores = logits / one.temperature
    if one.top_k:
        scores = sampling.keep_top_k(scores, one.top_k)
    if one.top_p < 1:
        scores = sampling.keep_top_p(scores, one.top_p)
    if one.min_p > 0:
        scores = sampling.keep_min_p(scores, one.min_p)
    return scores


def likeliest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Logits and ids of the tokens from some logit on, at least `count` a row, in the order of the vocabulary:
    (B, N) twice. Rows that have fewer than others are filled up with -inf and any id."""
    rows, size = logits.shape
    if logits.device.type != "cpu" or size < BLOCK * count:
        ids = logits.topk(min(2 * count, size), dim=-1).indices.sort(dim=-1).values  # the last ones may tie
        return logits.gather(-1, ids), ids
    # The count-th of the blocks' likeliest tokens: at least `count` tokens are as likely, and few more.
    blocks = logits[:, : size // BLOCK * BLOCK].view(rows, -1, BLOCK).amax(dim=-1)
    least = blocks.topk(count, dim=-1).values[:, -1:]
    row, token = np.divmod(np.flatnonzero((logits >= least).numpy()), size)
    counts = np.bincount(row, minlength=rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    ids = torch.zeros(rows, int(counts.max()), dtype=torch.int64)
    values = torch.full(ids.shape, NEVER)
    ids.numpy()[row, place], values.numpy()[row, place] = token, logits.numpy()[row, token]
    return values, ids


def left(values: Tensor, filters: Sequence[Filter], logits: Tensor) -> tuple[Tensor, Tensor]:
    """The candidates `values` (B, N) over the temperature, -inf where they may not be drawn, and whether the least
    likely of them may be, (B,) bool: then `logits` (B, V) may hold more."""
    heat = _column([one.temperature for one in filters], logits)
    ranked, order = (values / heat).sort(dim=-1, descending=True)
    whole = torch.tensor([not one.top_k for one in filters], device=logits.device)
    last = torch.tensor([[one.top_k - 1 if one.top_k else 0] for one in filters], device=logits.device)
    kept = ranked.masked_fill((ranked < ranked.gather(-1, last)) & ~whole[:, None], NEVER)
    if any(one.top_p < 1 or one.min_p > 0 for one in filters):
        weights = (kept - kept[:, :1]).exp()  # over that of the likeliest token
        beyond = torch.zeros_like(heat)
        if any(one.top_p < 1 and not one.top_k for one in filters):
            beyond = _beyond(values, logits, heat).where(whole[:, None], beyond)
        chances = weights / (weights.sum(dim=-1, keepdim=True) + beyond)
        at_most = weights.flip(-1).cumsum(dim=-1).flip(-1) + beyond  # the chance of a token and all less likely ones
        at_most *= chances[:, :1]
        remove = at_most <= _column([1 - one.top_p if one.top_p < 1 else -1.0 for one in filters], logits)
        remove |= chances < _column([one.min_p for one in filters], logits) * chances[:, :1]
        remove[:, 0] = False
        kept = kept.masked_fill(remove, NEVER)
    held = (ranked > NEVER).sum(dim=-1, keepdim=True)
    more = kept.gather(-1, (held - 1).clamp(min=0))[:, 0] > NEVER
    return torch.empty_like(kept).scatter_(-1, order, kept), more


def _beyond(values: Tensor, logits: Tensor, heat: Tensor) -> Tensor:
    """What the tokens that are no candidates weigh together, over the weight of the likeliest one: (B, 1)."""
    least = values.masked_fill(values == NEVER, -NEVER).amin(dim=-1, keepdim=True)
    others = logits.masked_fill(logits >= least, NEVER)
    return others.sub_(values.amax(dim=-1, keepdim=True)).div_(heat).exp_().sum(dim=-1, keepdim=True)


def _column(numbers: Sequence[float], beside: Tensor) -> Tensor:
    """(B, 1), on the device of `beside`."""
    return torch.tensor(numbers, dtype=torch.float32, device=beside.device)[:, None]
