from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from model.decoder import Decoder

Make = Callable[..., Decoder]


def test_dropout_is_where_gpt2_has_it(make_decoder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedding, attention weights, output of both halves of each block; each with the configured share."""
    seen: list[float] = []
    attended: list[float] = []
    attend = functional.scaled_dot_product_attention

    def counting(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
        if training:
            seen.append(p)
        return x

    def attending(*args: Any, dropout_p: float = 0.0, **options: Any) -> torch.Tensor:
        attended.append(dropout_p)
        return attend(*args, **options)

    monkeypatch.setattr(functional, "dropout", counting)
    monkeypatch.setattr("model.attention.dropout", counting)
    monkeypatch.setattr("model.attention.scaled_dot_product_attention", attending)
    model = make_decoder(dropout=0.3).train()
    model(torch.zeros(2, 7, dtype=torch.int64))
    assert seen == [0.3] * (1 + 2 * 3) and attended == [0.3] * 3
    model.eval()(torch.zeros(2, 7, dtype=torch.int64))
    assert seen == [0.3] * 7 and attended == [0.3] * 3 + [0.0] * 3


def test_dropout_acts_in_training_alone_and_follows_the_seed(make_decoder: Make) -> None:
    tokens = torch.randint(0, 101, (2, 13))
    plain, model = make_decoder(), make_decoder(dropout=0.5)
    with torch.no_grad():
        assert torch.equal(plain(tokens), model(tokens))  # evaluation
        model.train()
        torch.manual_seed(3)
        first, other = model(tokens), model(tokens)
        torch.manual_seed(3)
        again = model(tokens)
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_dropout_keeps_the_mean_of_what_it_thins(make_decoder: Make) -> None:
    model = make_decoder(dropout=0.25, hidden_size=300, num_attention_heads=3).train()
    seen: list[torch.Tensor] = []
    model.model.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    tokens = torch.randint(0, 101, (5, 31))
    model(tokens)
    embedded = model.model.embed_tokens(tokens).detach()
    kept = seen[0] != 0
    assert 1 - kept.float().mean().item() == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(seen[0][kept], embedded[kept] / 0.75)


def test_dropout_acts_where_documents_share_a_row(make_decoder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way without a mask knows no dropout of attention weights: it must not be taken in training."""
    monkeypatch.setattr("model.decoder.attends_by_segments", lambda *_: pytest.fail("taken with dropout"))
    model = make_decoder(dropout=0.3).train()
    model(torch.zeros(2, 7, dtype=torch.int64), segments=torch.tensor([0, 3, 7, 14]).int())
