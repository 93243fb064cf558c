"""Generation on CUDA gives what the CPU gives. Run where a GPU is present."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from generation.config import GenerationConfig
from generation.engine import Engine, Request
from generation.engine.graphs import GraphRunner
from generation.sampler import Sampler
from model.decoder import Decoder

pytestmark = pytest.mark.gpu
PROMPTS = [[5, 17, 3], [200, 4, 4, 4, 150, 31, 8, 90], [77]]


def run(model: Decoder) -> list[list[int]]:
    texts: list[list[int]] = [[] for _ in PROMPTS]
    config = GenerationConfig(do_sample=False, max_new_tokens=31)
    for token in Engine(model).stream([Request(prompt, config) for prompt in PROMPTS]):
        texts[token.request] += [] if token.token is None else [token.token]
    return texts


def test_greedy_text_equals_the_cpus(make_model: Callable[..., Decoder]) -> None:
    expected = run(make_model())
    assert run(make_model().to("cuda")) == expected


def test_bfloat16_logits_are_close(make_model: Callable[..., Decoder]) -> None:
    model = make_model(initializer_range=0.1)
    tokens = torch.tensor(PROMPTS[1:2])
    exact = model(tokens)
    rough = model.to(device="cuda", dtype=torch.bfloat16)(tokens.cuda()).float().cpu()
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_every_sampler_chooses_what_it_chooses_on_the_cpu() -> None:
    """The same logits, of a large vocabulary; a number of chance next to a border may fall on the other side."""
    options: list[dict[str, Any]] = [
        {},
        {"do_sample": False, "logprobs": 3},
        {"preset": "creative"},
        {"top_k": 0, "top_p": 0.9, "no_repeat_ngram_size": 2},
        {"top_k": 300, "presence_penalty": 0.5, "frequency_penalty": 0.2},
        {"top_k": 0, "top_p": 1.0, "temperature": 1.2},
    ]
    rows = range(len(options))
    samplers = [Sampler(30_011, torch.device(device)) for device in ("cpu", "cuda")]
    same = 0
    for step in range(30):
        logits = torch.randn(len(options), 30_011, generator=torch.Generator().manual_seed(step)) * 4
        for sampler in samplers:
            for row in rows:  # anew: after another choice all later ones would differ
                if step:
                    sampler.remove(row)
                sampler.add(row, list(range(40)), GenerationConfig(**options[row]), 100 * step + row)
        own, cuda = samplers[0].choose(logits, rows), samplers[1].choose(logits.cuda(), rows)
        same += sum(one.token == other.token for one, other in zip(own, cuda, strict=True))
        assert own[1].logprob == pytest.approx(cuda[1].logprob, abs=1e-4)
    assert same >= 30 * len(options) - 2


def test_a_step_is_recorded_and_repeated(make_model: Callable[..., Decoder]) -> None:
    """Over several numbers of texts and lengths, with texts that come and go."""
    config = GenerationConfig(do_sample=False, max_new_tokens=31)
    engine = Engine(make_model().to("cuda"))
    runner = engine._runner
    assert isinstance(runner, GraphRunner)
    for prompts in (PROMPTS[:1], PROMPTS, PROMPTS[::-1], PROMPTS[1:]):
        texts: list[list[int]] = [[] for _ in prompts]
        for token in engine.stream([Request(prompt, config) for prompt in prompts], at_once=2):
            texts[token.request] += [] if token.token is None else [token.token]
        expected = run(make_model())
        assert texts == [expected[PROMPTS.index(prompt)] for prompt in prompts]
    assert not runner._fails and len(runner._recordings) >= 2


def test_int8_is_the_same_model_on_both_devices(make_model: Callable[..., Decoder]) -> None:
    config = GenerationConfig(do_sample=False, max_new_tokens=31)
    texts = []
    for model in (make_model(), make_model().to("cuda")):
        engine = Engine(model, quantization="int8", compile=False)
        texts.append([token.token for token in engine.stream([Request(PROMPTS[1], config)])])
    assert texts[0] == texts[1]
