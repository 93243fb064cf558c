"""Which tokens a text holds and how often it wrote them, for the penalties on repetition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from generation import sampling


class SeenTokens:
    """The distinct tokens of prompt and output, and how often each is in the output; grows at constant cost a token."""

    def __init__(self, prompt: Sequence[int], repetition: float, presence: float, frequency: float) -> None:
        self.penalties = (repetition, presence, frequency)
        distinct = list(dict.fromkeys(prompt))
        self._places = {token: place for place, token in enumerate(distinct)}
        self._ids = np.zeros(2 * len(distinct) + 64, dtype=np.int64)
        self._ids[: len(distinct)] = distinct
        self._counts = np.zeros(len(self._ids), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._places)

    def push(self, token: int) -> None:
        """Note the next token of the output."""
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._ids):
            self._ids, self._counts = np.resize(self._ids, 2 * place), np.resize(self._counts, 2 * place)
            self._counts[place:] = 0
        self._ids[place] = token
        self._counts[place] += 1

    def fill(self, ids: npt.NDArray[np.int64], counts: npt.NDArray[np.float32]) -> None:
        """Write the tokens, and how often each was written, into rows of at least `len(self)`; the first fills up."""
        held = len(self)
        ids[:held], ids[held:] = self._ids[:held], self._ids[0]
        counts[:held], counts[held:] = self._counts[:held], self._counts[0]


def penalised(scores: Tensor, rows: Sequence[tuple[int, SeenTokens]]) -> Tensor:
    """`scores` (B, V) with the penalties of these rows, each with its own."""
    longest = max(len(seen) for _, seen in rows)
    ids = np.empty((len(rows), longest), dtype=np.int64)
    counts = np.empty((len(rows), longest), dtype=np.float32)
    for n, (_, seen) in enumerate(rows):
        seen.fill(ids[n], counts[n])
    device = scores.device
    repetition, presence, frequency = torch.tensor([seen.penalties for _, seen in rows], device=device).T[:, :, None]
    places = [row for row, _ in rows]
    everywhere = len(rows) == len(scores)
    part = scores if everywhere else scores[places]
    where = torch.from_numpy(ids).to(device)
    part = sampling.penalise_repetition(part, where, repetition)
    if presence.any() or frequency.any():
        part = sampling.penalise_written(part, where, torch.from_numpy(counts).to(device), presence, frequency)
    if everywhere:
        return part
    scores = scores.clone()
    scores[places] = part
    return scores
