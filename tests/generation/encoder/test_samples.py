"""What an encoder tells at each validation, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from generation.encoder.show import masks_line
from generation.encoder.text import TextEncoder
from generation.samples import write_samples
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads
from tests.generation.encoder.conftest import CLASSES
from tokenization.tokenizer import Tokenizer

Maker = Callable[..., Encoder]
Kinds = Callable[[str], Tokenizer]


def samples(model: Encoder, tokenizer: Tokenizer, prompts: list[str]) -> list[Any]:
    return write_samples(model, tokenizer, {"sequence_length": 30}, prompts, 60, [1] * len(prompts))


def test_masks_are_filled_and_prompts_without_one_left_out(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("bpe")
    model = make_encoder(tokenizer)
    found = samples(model, tokenizer, ["", "the [MASK] was [MASK].", "no mask"])
    expected = masks_line(TextEncoder(model, tokenizer).fill_mask("the [MASK] was [MASK]."))
    assert found == [None, expected, None] and expected.count("·") == 8 and expected.count("|") == 1


def test_classes_are_told_of_texts(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("wordpiece")
    model = make_encoder(tokenizer, CLASSES)
    best = TextEncoder(model, tokenizer).classify(["the film was great"])[0]
    found = samples(model, tokenizer, ["the film was great", "", "no"])
    assert found[:2] == [f"{best.label} {best.confidence:.3f}", None] and found[2].split()[0] in CLASSES.labels
    assert samples(make_encoder(tokenizer, Heads()), tokenizer, ["the [MASK]"]) == [None]


def test_chance_and_weights_are_left_alone(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("wordpiece")
    model = make_encoder(tokenizer, dropout=0.3).train()
    before, state = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    samples(model, tokenizer, ["the [MASK] was"])
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
