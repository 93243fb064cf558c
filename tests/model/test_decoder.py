from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from model.decoder import Decoder

Make = Callable[..., Decoder]


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("heads", [(3, 3), (3, 1), (6, 2)])
def test_no_token_sees_the_future(make_decoder: Make, qk_norm: bool, heads: tuple[int, int]) -> None:
    model = make_decoder(qk_norm=qk_norm, num_attention_heads=heads[0], num_key_value_heads=heads[1], head_dim=10)
    tokens = torch.randint(0, 101, (2, 17))
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % 101
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(after[:, :11], before[:, :11])
    assert (after[:, 11:] - before[:, 11:]).abs().amax(dim=(0, 2)).min() > 1e-3


def test_logits_cover_the_vocabulary_and_no_padding(make_decoder: Make) -> None:
    model = make_decoder(vocab_size=101)
    assert model.padded_vocab_size == 128
    with torch.no_grad():
        assert model(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 5, 101)
        model.model.embed_tokens.weight[101:] = 1e6  # whatever lies there must not matter
        loss, count = model.loss(torch.tensor([[1, 2, 3]]), torch.tensor([[2, -100, 4]]))
    assert count.item() == 2 and count.dtype == torch.int64
    assert loss.item() < 100


def test_only_distances_between_positions_matter(make_decoder: Make) -> None:
    model = make_decoder()
    tokens = torch.randint(0, 101, (2, 13))
    with torch.no_grad():
        plain = model(tokens)
        moved = model(tokens, positions=torch.arange(13) + 29)
        stretched = model(tokens, positions=torch.arange(13) * 3)
        each_row = model(tokens, positions=torch.stack([torch.arange(13), torch.arange(13) * 3]))
    torch.testing.assert_close(moved, plain, atol=1e-4, rtol=1e-4)
    assert (stretched - plain).abs().max() > 1e-2
    torch.testing.assert_close(each_row[0], plain[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(each_row[1], stretched[1], atol=1e-5, rtol=1e-5)


def test_rotary_tables_keep_their_precision(make_decoder: Make) -> None:
    model = make_decoder(max_position_embeddings=997).to(torch.bfloat16)
    rotary = model.model.rotary
    assert rotary.cos.dtype == torch.float32
    position, pair, head = 991, 2, 10
    angle = position / 10000 ** (2 * pair / head)
    assert rotary.cos[position, pair].item() == pytest.approx(math.cos(angle), abs=1e-4)
    assert rotary.sin[position, pair].item() == pytest.approx(math.sin(angle), abs=1e-4)
    assert not [name for name in model.state_dict() if "rotary" in name]


def test_initial_weights_follow_gpt2(make_decoder: Make) -> None:
    model = make_decoder(hidden_size=120, intermediate_size=331, initializer_range=0.02, num_hidden_layers=7)
    block = model.model.layers[3]
    residual = 0.02 / math.sqrt(2 * 7)
    for name, expected in (
        ("self_attn.q_proj", 0.02),
        ("self_attn.o_proj", residual),
        ("mlp.gate_proj", 0.02),
        ("mlp.down_proj", residual),
    ):
        weight = block.get_parameter(f"{name}.weight")
        assert weight.std().item() == pytest.approx(expected, rel=0.05), name
        assert abs(weight.mean().item()) < 0.1 * expected, name


def test_parameters_and_flops_against_counts_by_hand(make_decoder: Make) -> None:
    tied, untied = make_decoder(vocab_size=101), make_decoder(vocab_size=101, tie_word_embeddings=False)
    attention = 30 * 30 + 2 * 30 * 10 + 30 * 30  # q, k and v of one group, o
    block = attention + 3 * 30 * 37
    norms = 3 * 2 * 30 + 30
    assert tied.num_parameters() == 3 * block + norms + 101 * 30
    assert untied.num_parameters() == tied.num_parameters() + 101 * 30
    expected = 6 * (3 * block + 101 * 30) + 12 * 3 * 30 * (17 + 1) / 2
    assert tied.flops_per_token(17) == untied.flops_per_token(17) == expected


def test_every_weight_gets_a_gradient(make_decoder: Make) -> None:
    model = make_decoder(qk_norm=True, tie_word_embeddings=False)
    tokens = torch.randint(0, 101, (3, 11))
    loss, _ = model.loss(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_loss_under_autocast_is_float32_and_close(make_decoder: Make) -> None:
    model = make_decoder(initializer_range=0.1)
    tokens = torch.randint(0, 101, (5, 23))
    exact, count = model.loss(tokens[:, :-1], tokens[:, 1:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = model.loss(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    assert loss.dtype == torch.float32 and count.item() == 5 * 22
    assert loss.item() == pytest.approx(exact.item(), rel=2e-2)


@pytest.mark.slow
def test_compiled_loss_equals_eager(make_decoder: Make) -> None:
    model = make_decoder()
    tokens = torch.randint(0, 101, (3, 12))
    eager, _ = model.loss(tokens[:, :-1], tokens[:, 1:])
    compiled = torch.compile(model)
    loss, count = compiled(tokens[:, :-1], targets=tokens[:, 1:])
    assert loss.item() == pytest.approx(eager.item(), rel=1e-5) and count.item() == 33
    loss.backward()
