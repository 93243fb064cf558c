"""First weights of BERT's first block: each head looks at the word at one fixed distance.

Learned positions say nothing at first, so BERT spends its first thousands of steps on how frequent words are, until
some head has found out which positions are neighbours. Heads that look at fixed distances are what attention needs to
be a convolution (Cordonnier et al., 2020, arXiv 1911.03584), and transformers that start as one learn from less
(d'Ascoli et al., 2021, arXiv 2103.10697). Here the positions are random Fourier features (Rahimi and Recht, 2007) in
numbers that the words leave free, and the first block's queries and keys compare just those, turned by the head's
distance. All of it is learned on from there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEWEST = 16  # numbers that tell positions apart well enough; with fewer, a head sees its neighbour among others
# Attention logit of the position that a head looks at; of the others it is 0, give or take 8 / sqrt(numbers).
PEAK = 8.0
OTHERS = 0.1  # positions in the words' numbers: this share of their usual size


def position_numbers(width: int, heads: int) -> int:
    """How many of a token's numbers are for its position: a head's size, at most a quarter; 0 where those are too few
    to look at one position."""
    numbers = min(width // heads, width // 4) // 2 * 2
    return numbers if numbers >= FEWEST else 0


def distance(head: int) -> int:
    """Where a head looks: 1, -1, 2, -2, ... tokens to the right."""
    return (head // 2 + 1) * (-1 if head % 2 else 1)


@torch.no_grad()
def look_nearby(
    words: Tensor, positions: Tensor, types: Tensor, query: Tensor, key: Tensor, *, heads: int, std: float
) -> None:
    """Change, in place, the weights that BERT starts with (normal, of deviation `std`).

    words (V, C), positions (N, C), types (Y, C); query, key (C, C) of the first block. Nothing for heads that are too
    small (`position_numbers`), nor for weights that are only shapes yet (on `meta`).
    """
    C = query.shape[1]
    D, P = C // heads, position_numbers(C, heads)
    if not P or query.is_meta:
        return
    turns = torch.pi * torch.rand(P // 2)  # of each pair of numbers, radians a position
    angles = torch.arange(len(positions))[:, None] * turns  # (N, P / 2)
    words[:, :P] = 0
    types[:, :P] = 0
    positions *= OTHERS
    # A word and its type have a variance of 2 std^2 a number; so have these.
    positions[:, :P] = 2 * std * torch.cat([angles.cos(), angles.sin()], dim=1)
    # Normalised, they are sqrt(2) cos and sqrt(2) sin: P times the square of the gain is the product of equals.
    gain = math.sqrt(PEAK * math.sqrt(D) / P)
    for head in range(heads):
        rows = slice(head * D, head * D + P)
        there = distance(head) * turns
        cos, sin = there.cos().diag(), there.sin().diag()
        query[rows], key[rows] = 0, 0
        query[rows, :P] = gain * torch.eye(P)
        key[rows, :P] = gain * torch.cat([torch.cat([cos, sin], dim=1), torch.cat([-sin, cos], dim=1)])
