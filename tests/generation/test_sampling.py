"""Each processor against the one of `transformers`, on random logits with and without ties."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

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
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits)
    assert torch.equal(sampling.penalise_repetition(logits, tokens, penalty), expected)


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


def _hard_rows() -> st.SearchStrategy[torch.Tensor]:
    """Three rows of logits: few distinct values (many ties), some or all of them forbidden."""
    value = st.one_of(st.integers(-3, 3).map(float), st.floats(-30, 30, width=32), st.just(-torch.inf))
    row = st.lists(value, min_size=13, max_size=13)
    return st.lists(st.one_of(row, st.just([-torch.inf] * 13)), min_size=ROWS, max_size=ROWS).map(torch.tensor)


@settings(max_examples=100, deadline=None)
@given(
    logits=_hard_rows(),
    k=st.integers(1, 14),
    p=st.floats(0, 1, exclude_min=True, exclude_max=True, width=32),
    share=st.floats(0, 1, width=32),
    penalty=st.floats(0.125, 8, width=32),
    tokens=st.lists(st.lists(st.integers(0, 12), min_size=5, max_size=5), min_size=ROWS, max_size=ROWS),
)
def test_every_processor_on_ties_and_forbidden_rows(
    logits: torch.Tensor, k: int, p: float, share: float, penalty: float, tokens: list[list[int]]
) -> None:
    history = torch.tensor(tokens)
    pairs = [
        (sampling.penalise_repetition(logits, history, penalty), RepetitionPenaltyLogitsProcessor(penalty)),
        (sampling.ban_tokens(logits, [NGramIndex(1, row).banned() for row in tokens]), NoRepeatNGramLogitsProcessor(1)),
        (sampling.keep_top_k(logits, k), TopKLogitsWarper(k)),
        (sampling.keep_min_p(logits, share), MinPLogitsWarper(share)),
    ]
    for own, processor in pairs:
        torch.testing.assert_close(own, processor(history, logits), atol=1e-6, rtol=0)
    own, expected = sampling.keep_top_p(logits, p), TopPLogitsWarper(p)(history, logits)
    torch.testing.assert_close(
        own.sort().values, expected.sort().values, atol=1e-6, rtol=0
    )  # which of ties: an accident


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_min_p(share: float) -> None:
    for seed, ties in enumerate([False, True] * 5):
        logits = _logits(seed, ties)
        torch.testing.assert_close(
            sampling.keep_min_p(logits, share), MinPLogitsWarper(share)(None, logits), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize(("presence", "frequency"), [(0.7, 0.0), (0.0, -0.3), (0.5, 1.5)])
def test_penalties_of_presence_and_frequency(presence: float, frequency: float) -> None:
    """Against OpenAI's formula, written out. Tokens of the prompt don't count, nor does a later row's padding."""
    config = GenerationConfig(do_sample=False, presence_penalty=presence, frequency_penalty=frequency)
    sampler = Sampler(VOCABULARY, CPU)
    prompts = _tokens(1, 4).tolist()
    written: list[list[int]] = [[] for _ in range(ROWS)]
    for row in range(ROWS):
        sampler.add(row, prompts[row] * (row + 1), config, None)
    for step in range(60):
        logits = _logits(step % 4, ties=False)  # the same few: tokens come again
        expected = logits.clone()
        for row, token in ((row, token) for row in range(ROWS) for token in range(VOCABULARY)):
            count = written[row].count(token)
            expected[row, token] -= count * frequency + (count > 0) * presence
        tokens = [choice.token for choice in sampler.choose(logits, range(ROWS))]
        assert tokens == expected.argmax(dim=-1).tolist()
        for row in range(ROWS):
            written[row].append(tokens[row])
