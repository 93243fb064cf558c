from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from generation.engine.quantized import Int8, Int8Linear, quantize, with_int8
from model.decoder import Decoder

Make = Callable[..., Decoder]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_is_off_by_more_than_half_a_step(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = (torch.randn(23, 37) * torch.logspace(-6, 3, 23)[:, None]).to(dtype)
    weight[5] = 0
    rounded, scale = quantize(weight)
    assert rounded.dtype == torch.int8 and rounded.shape == (23, 37) and scale.shape == (23,)
    error = (rounded * scale[:, None] - weight.float()).abs()
    assert (error <= scale[:, None] * 0.5001).all()
    assert (rounded.abs().amax(dim=1)[torch.arange(23) != 5] == 127).all() and (rounded[5] == 0).all()


@torch.no_grad()
def test_the_model_stays_as_it_is_and_shares_what_is_not_quantized(make_model: Make) -> None:
    model = make_model(qkv_bias=True, tie_word_embeddings=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    twin = with_int8(model, Int8.of(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert twin.embedding.weight is model.embedding.weight
    assert sum(isinstance(module, Int8Linear) for module in twin.modules()) == 2 * 7 + 1
    tokens = torch.randint(0, 331, (2, 19))
    exact = model(tokens)
    for block in model.model.layers:  # the same weights, rounded, in the ordinary model
        for linear in (module for module in block.modules() if isinstance(module, torch.nn.Linear)):
            rounded, scale = quantize(linear.weight)
            linear.weight.copy_(rounded * scale[:, None])
    rounded, scale = quantize(model.head_weight)
    model.head_weight.copy_(rounded * scale[:, None])
    assert (twin(tokens) - model(tokens)).abs().max() < 1e-4 < (twin(tokens) - exact).abs().max()
