"""Rows that come and go, each with its own options: what the sampler chooses, against the processors of `transformers`
row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from foundation.errors import UserError
from foundation.streams import generator
from generation.config import GenerationConfig
from generation.sampler import Sampler

VOCABULARY = 53
CPU = torch.device("cpu")
ALL: dict[str, Any] = {
    "temperature": 0.6,
    "top_k": 17,
    "top_p": 0.8,
    "min_p": 0.05,
    "repetition_penalty": 1.4,
    "no_repeat_ngram_size": 2,
}
OPTIONS: list[dict[str, Any]] = [
    ALL,
    {"do_sample": False},
    ALL | {"do_sample": False},
    {"temperature": 1.3, "top_k": 0, "top_p": 1.0},
    {"repetition_penalty": 0.8, "top_k": 9, "seed": None},
    {"do_sample": False, "no_repeat_ngram_size": 1},
    {"min_p": 0.3, "top_k": 0},
]


class Reference:
    """One row by the processors of `transformers`, drawn by inverting the cumulative sum."""

    def __init__(self, prompt: list[int], config: GenerationConfig, seed: int) -> None:
        self.history = list(prompt)
        self.chance = generator(seed, "generation").random(600)
        self.sampled = not config.greedy
        steps: list[Any] = []
        if config.repetition_penalty != 1:
            steps.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
        if config.no_repeat_ngram_size:
            steps.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
        if self.sampled:
            steps.append(TemperatureLogitsWarper(config.temperature))
            steps += [TopKLogitsWarper(config.top_k)] if config.top_k else []
            steps += [TopPLogitsWarper(config.top_p)] if config.top_p < 1 else []
            steps += [MinPLogitsWarper(config.min_p)] if config.min_p else []
        self.steps = LogitsProcessorList(steps)
        self.count = 0

    def next(self, logits: torch.Tensor) -> int:
        scores = self.steps(torch.tensor([self.history]), logits[None])[0]
        if scores.max() == -torch.inf:  # all are banned, where transformers fails or takes token 0: none is
            scores = logits
        token = int(scores.argmax())
        if self.sampled:
            token = int((scores.double().softmax(dim=-1).cumsum(dim=-1) <= self.chance[self.count]).sum())
        self.count += 1
        self.history.append(token)
        return token


def _logits(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def test_rows_come_and_go_each_as_if_it_were_alone() -> None:
    sampler = Sampler(VOCABULARY, CPU)
    rows: dict[int, Reference] = {}
    for step in range(90):
        if step % 5 == 0:
            row, options = step // 5 % 8, OPTIONS[step // 5 % len(OPTIONS)]
            if row in rows:
                sampler.remove(row)
            config = GenerationConfig(**options)
            prompt = [(step * 7 + place) % 11 for place in range(1 + step % 9)]
            sampler.add(row, prompt, config, step)
            rows[row] = Reference(prompt, config, step)
        chosen = [row for row in rows if (row + step) % 3]  # not all of them every time
        logits = _logits(len(chosen), step)
        expected = [rows[row].next(logits[place]) for place, row in enumerate(chosen)]
        assert [choice.token for choice in sampler.choose(logits, chosen)] == expected


def test_numbers_of_chance_are_the_same_however_many_are_drawn() -> None:
    sampler, config = Sampler(VOCABULARY, CPU), GenerationConfig(top_k=0, top_p=1)
    sampler.add(3, [1], config, 5)
    reference = Reference([1], config, 5)
    for step in range(520):
        logits = _logits(1, step)
        assert sampler.choose(logits, [3])[0].token == reference.next(logits[0])


def test_plain_rows_need_no_sampler() -> None:
    sampler = Sampler(VOCABULARY, CPU)
    plain: list[dict[str, Any]] = [{"do_sample": False}, {"temperature": 0.0, "top_k": 3}]
    others: list[dict[str, Any]] = [
        {},
        {"do_sample": False, "logprobs": 0},
        {"do_sample": False, "presence_penalty": 1},
    ]
    for row, options in enumerate([*plain, *others]):
        sampler.add(row, [1, 2], GenerationConfig(**options), 0)
    assert sampler.plain([0, 1]) and not any(sampler.plain([0, row]) for row in (2, 3, 4))
    logits = _logits(2, 0).bfloat16()
    assert [choice.token for choice in sampler.choose(logits, [0, 1])] == logits.argmax(dim=-1).tolist()


@pytest.mark.parametrize("options", [{"do_sample": False}, ALL])
def test_logprobs_are_the_models_own(options: dict[str, Any]) -> None:
    sampler = Sampler(VOCABULARY, CPU)
    for row, count in enumerate([0, 4, 99]):
        sampler.add(row, [1, 2], GenerationConfig(logprobs=count, **options), row)
    logits = _logits(3, 1)
    expected = logits.double().log_softmax(dim=-1)
    for row, choice in enumerate(sampler.choose(logits, [0, 1, 2])):
        assert choice.logprob == pytest.approx(float(expected[row, choice.token]), abs=1e-6)
        order = expected[row].argsort(descending=True)[: [0, 4, 99][row]].tolist()
        assert [token for token, _ in choice.top_logprobs] == order
        assert [value for _, value in choice.top_logprobs] == pytest.approx(expected[row, order].tolist(), abs=1e-6)


@pytest.mark.parametrize("options", [{"do_sample": False}, {}, ALL])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), None])
def test_a_model_that_gives_no_numbers_is_named(options: dict[str, Any], broken: float | None) -> None:
    sampler = Sampler(VOCABULARY, CPU)
    for row in range(2):
        sampler.add(row, [1, 2], GenerationConfig(**options), row)
    logits = _logits(2, 1)
    if broken is None:
        logits[1] = -torch.inf
    else:
        logits[1, 7] = broken
    with pytest.raises(UserError, match="--dtype float32"):
        sampler.choose(logits, [0, 1])
