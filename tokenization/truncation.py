"""Which tokens of a text that is too long are kept: its head, its tail, or both (Sun et al. 2019, arXiv 1905.05583)."""

from __future__ import annotations

from typing import Literal

Truncation = Literal["head", "tail", "head_tail"]


def kept_spans(length: int, room: int, how: Truncation = "head") -> list[tuple[int, int]]:
    """The spans [start, stop) of a text of `length` tokens that stay, in order, at most `room` (>= 1) tokens in all.

    `head_tail` keeps a quarter of a row from the start, the rest from the end: 128 and 382 of 510, as the paper does.
    """
    assert room >= 1
    if length <= room:
        return [(0, length)]
    if how == "head":
        return [(0, room)]
    if how == "tail":
        return [(length - room, length)]
    head = (room + 2) // 4
    return [(0, head), (length - room + head, length)] if head else [(length - room, length)]
