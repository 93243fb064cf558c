"""Encoders on a CUDA device answer as on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from generation.encoder.text import TextEncoder
from model.encoder.encoder import Encoder
from tests.generation.encoder.conftest import CLASSES, PRETRAINING, TEXTS
from tokenization.tokenizer import Tokenizer


@pytest.mark.gpu
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-3), (torch.bfloat16, 0.15)])
def test_packed_texts(
    kinds: Callable[[str], Tokenizer],
    make_encoder: Callable[..., Encoder],
    architecture: str,
    dtype: torch.dtype,
    near: float,
) -> None:
    tokenizer = kinds("wordpiece")
    shape = {"hidden_size": 96, "initializer_range": 0.05}  # 32 numbers a head: flash attention takes multiples of 8
    for heads in (PRETRAINING, CLASSES):
        here, there = (
            TextEncoder(make_encoder(tokenizer, heads, architecture, **shape).to(**place), tokenizer, batch_size=2)
            for place in ({"device": "cpu"}, {"device": "cuda", "dtype": dtype})
        )
        assert np.abs(here.embed(TEXTS) - there.embed(TEXTS)).max() < near
        if heads is CLASSES:
            for ours, theirs in zip(here.classify(TEXTS), there.classify(TEXTS), strict=True):
                assert ours.probabilities == pytest.approx(theirs.probabilities, abs=near)
        else:
            masks = [encoder.fill_mask("the [MASK] was great", 300)[0] for encoder in (here, there)]
            shares = [{g.token_id: g.probability for g in mask.predictions} for mask in masks]
            assert all(abs(shares[0][token] - shares[1].get(token, 0.0)) < near for token in shares[0])
