"""Each processor against the one of `transformers`, on random logits with and without ties."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from foundation.streams import generator
from generation import sampling
from generation.config import GenerationConfig
from generation.ngrams import NGramIndex
from generation.sampler import Sampler

ROWS, VOCABULARY = 3, 53
CPU = torch.device("cpu")


def _logits(seed: int, ties: bool) -> torch.Tensor:
    logits = torch.randn(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3
    return logits.round() if ties else logits


def _tokens(seed: int, length: int, vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.randint(0, vocabulary, (ROWS, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("penalty", [0.7, 1.3, 5.0])
@pytest.mark.parametrize("seed", range(5))
def test_repetition_penalty(seed: int, penalty: float, ties: bool) -> None:
    logits, tokens = _logits(seed, ties), _tokens(seed, 29)  # 29 of 53: many tokens occur several times
    seen = torch.zeros(ROWS, VOCABULARY, dtype=torch.bool).scatter_(1, tokens, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits)
    assert torch.equal(sampling.penalise_repetition(logits, seen, penalty), expected)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 5),
    rows=st.integers(0, 31).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 4), min_size=n, max_size=n), min_size=ROWS, max_size=ROWS)
    ),
)
def test_no_repeat_ngram(size: int, rows: list[list[int]]) -> None:
    logits = _logits(0, ties=False)
    tokens = torch.tensor(rows, dtype=torch.int64).view(ROWS, -1)
    expected = NoRepeatNGramLogitsProcessor(size)(tokens, logits)
    banned = [NGramIndex(size, row).banned() for row in rows]
    assert torch.equal(sampling.ban_tokens(logits, banned), expected)


def test_a_row_with_every_token_banned_stays_as_it_is() -> None:
    logits = _logits(0, ties=False)
    out = sampling.ban_tokens(logits, [set(range(VOCABULARY)), set(), {1}])
    assert torch.equal(out[:2], logits[:2]) and out[2, 1] == -torch.inf


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 2, 7, 52, 53, 1000])
def test_top_k(k: int, ties: bool) -> None:
    for seed in range(5):
        logits = _logits(seed, ties)
        assert torch.equal(sampling.keep_top_k(logits, k), TopKLogitsWarper(k)(None, logits))


@pytest.mark.parametrize("p", [1e-9, 0.01, 0.3, 0.5, 0.9, 0.999999])
@pytest.mark.parametrize("k", [0, 1, 13])
def test_top_p(p: float, k: int) -> None:
    for seed in range(20):
        logits = _logits(seed, ties=False)
        if k:
            logits = sampling.keep_top_k(logits, k)
        own = sampling.keep_top_p(logits, p)
        assert torch.equal(own, TopPLogitsWarper(p)(None, logits))
        assert (own > -torch.inf).any(dim=-1).all()


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9])
def test_top_p_with_ties_keeps_as_many_of_the_same_value(p: float) -> None:
    """Which of several equal tokens stays is an accident of sorting; how many stay is not."""
    for seed in range(20):
        logits = _logits(seed, ties=True)
        own, expected = sampling.keep_top_p(logits, p), TopPLogitsWarper(p)(None, logits)
        for row in range(ROWS):
            assert Counter(own[row].tolist()) == Counter(expected[row].tolist())


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=40),
    p=st.floats(0, 1, exclude_min=True, width=32),
)
def test_top_p_keeps_the_likeliest_whatever_comes(values: list[float], p: float) -> None:
    logits = torch.tensor([values])
    kept = sampling.keep_top_p(logits, p)
    assert kept.max() == logits.max()
    assert torch.all((kept == logits) | (kept == -torch.inf))


def test_drawing_follows_the_distribution() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0, 2.0, -torch.inf]])
    uniforms = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    counts = torch.bincount(sampling.choose_at(logits.expand(10_000, -1), uniforms), minlength=5)
    expected = torch.softmax(logits[0], dim=0) * 10_000
    assert (counts - expected).abs().max() <= 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=9).filter(any), st.integers(0, 2**32))
def test_forbidden_tokens_are_never_drawn(allowed: list[bool], seed: int) -> None:
    torch.manual_seed(seed)
    logits = (torch.randn(len(allowed)) * 9).masked_fill(~torch.tensor(allowed), -torch.inf).expand(4, -1)
    uniforms = torch.tensor([0.0, 2.0**-53, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    assert all(allowed[token] for token in sampling.choose_at(logits, uniforms).tolist())


@pytest.mark.parametrize("sampled", [False, True])
def test_the_sampler_applies_them_in_the_order_of_transformers(sampled: bool) -> None:
    config = GenerationConfig(
        do_sample=sampled,
        temperature=0.6,
        top_k=17,
        top_p=0.8,
        repetition_penalty=1.4,
        no_repeat_ngram_size=2,
        max_new_tokens=31,
    )
    steps = [RepetitionPenaltyLogitsProcessor(1.4), NoRepeatNGramLogitsProcessor(2)]
    if sampled:
        steps += [TemperatureLogitsWarper(0.6), TopKLogitsWarper(17), TopPLogitsWarper(0.8)]
    history = _tokens(3, 5, vocabulary=11)
    sampler = Sampler(config, history.tolist(), [5, 6, 7], VOCABULARY, CPU)
    chances = np.stack([sampler_chance(seed) for seed in (5, 6, 7)])
    for step in range(31):
        logits = _logits(step, ties=False)
        scores = LogitsProcessorList(steps)(history, logits)
        if sampled:
            point = torch.from_numpy(chances[:, step])
            cumulative = scores.double().softmax(dim=-1).cumsum(dim=-1)
            expected = [int((cumulative[row] <= point[row]).sum()) for row in range(ROWS)]
        else:
            expected = scores.argmax(dim=-1).tolist()
        assert sampler.choose(logits) == expected
        history = torch.cat([history, torch.tensor(expected)[:, None]], dim=1)


def sampler_chance(seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The numbers that a row with this seed draws; longer generations begin with the same ones."""
    return generator(seed, "generation").random(97)
