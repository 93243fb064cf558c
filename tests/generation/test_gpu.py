"""Generation on CUDA gives what the CPU gives. Run where a GPU is present."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from generation.config import GenerationConfig
from generation.engine import Engine, Request
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
