"""Drawing from the likeliest candidates, against the whole vocabulary and the warpers of `transformers`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from generation import candidates, sampling
from generation.candidates import Filter

ROWS = 3
FILTERS: list[dict[str, Any]] = [
    {},
    {"top_k": 3},
    {"top_k": 40, "top_p": 0.7},
    {"top_k": 700, "top_p": 0.95, "min_p": 0.02},
    {"top_k": 720, "top_p": 0.6},
    {"top_k": 2000, "top_p": 0.95},
    {"top_k": 2900},
    {"top_p": 0.5},
    {"top_p": 0.9999},
    {"min_p": 0.2},
    {"top_p": 0.8, "min_p": 0.01},
]


@pytest.mark.parametrize("size", [3001, 32_000])  # the candidates are found by sorting, and by blocks
@pytest.mark.parametrize("spread", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("ties", [False, True])
def test_candidates_are_drawn_as_from_the_whole_vocabulary(spread: float, ties: bool, size: int) -> None:
    """Every kind of filter, in one batch of all, draws what the plain way over all `size` tokens draws: from sharp
    distributions, flat ones (more tokens than candidates) and logits of half precision, which tie everywhere."""
    torch.manual_seed(3)
    filters = [Filter(temperature=0.7, **values) for values in FILTERS]
    if ties:  # which of several equal tokens top-p keeps is an accident of sorting
        filters = [one for one in filters if one.top_p == 1]
    fell_back = 0
    for _ in range(5):
        logits = torch.randn(len(filters), size) * spread
        logits = logits.bfloat16().float() if ties else logits
        uniforms = torch.rand(len(filters), dtype=torch.float64)
        tokens = candidates.draw(logits, filters, uniforms)
        plain = [candidates.keep(logits[row : row + 1], one) for row, one in enumerate(filters)]
        assert tokens.tolist() == [
            int(sampling.choose_at(scores, uniforms[row : row + 1])) for row, scores in enumerate(plain)
        ]
        fell_back += sum(int((scores > -torch.inf).sum()) > candidates.MANY for scores in plain)
    assert fell_back


@pytest.mark.parametrize("values", FILTERS[1:], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_candidates_against_transformers(values: dict[str, Any], seed: int) -> None:
    """What may be drawn among 2,003 tokens, and how likely, within 1e-6."""
    logits = torch.randn(ROWS, 2003, generator=torch.Generator().manual_seed(seed)) * 4
    one = Filter(temperature=0.6, **values)
    expected = LogitsProcessorList(_warpers(one))(None, logits)
    if one.candidates and one.candidates * 2 < 2003:
        best, ids = candidates.likeliest(logits, one.candidates)
        kept, more = candidates.left(best, [one] * ROWS, logits)
        own = torch.full_like(logits, -torch.inf).scatter_reduce(-1, ids, kept, "amax")
        assert not more.any()
    else:
        own = candidates.keep(logits, one)
    torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-6)


def _warpers(one: Filter) -> list[Any]:
    steps: list[Any] = [TemperatureLogitsWarper(one.temperature)]
    steps += [TopKLogitsWarper(one.top_k)] if one.top_k else []
    steps += [TopPLogitsWarper(one.top_p)] if one.top_p < 1 else []
    return steps + ([MinPLogitsWarper(one.min_p)] if one.min_p else [])


@pytest.mark.parametrize("options", [{"top_k": 0, "top_p": 1}, {"top_k": 0, "top_p": 0.9}, {"top_k": 5, "min_p": 0.1}])
@pytest.mark.parametrize("size", [7, 4001])
def test_logits_that_leave_float32_give_the_likeliest_token(size: int, options: dict[str, Any]) -> None:
    """Over the least temperature they become infinite, and chances NaN; the row beside them is drawn as it was."""
    logits = torch.zeros(2, size)
    logits[0, 3], logits[0, -1] = 3e38, -torch.inf
    filters = [Filter(temperature=1e-4, **options), Filter(temperature=1, **options)]
    uniforms = torch.tensor([0.99, 0.5], dtype=torch.float64)
    drawn = candidates.draw(logits, filters, uniforms)
    assert drawn.tolist() == [3, int(candidates.draw(logits[1:], filters[1:], uniforms[1:]))]
