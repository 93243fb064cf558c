"""What both encoders share: losses, pieces, recomputation, initial weights, depths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from foundation.errors import UserError
from model.architectures import settled
from model.build import build_model, new_model
from model.config import ModelConfig
from model.directory import load_model_directory, save_model_directory
from model.encoder.encoder import Encoder, mean_of_pieces
from model.encoder.heads import Heads

Make = Callable[..., Encoder]
KINDS = ("bert", "modernbert")
SEGMENTS = torch.tensor([0, 5, 19, 30, 38, 38], dtype=torch.int32)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens (2, 19), places (6,) and targets (6,) of masked tokens, of which one is unused."""
    tokens = torch.randint(0, 101, (2, 19), generator=torch.Generator().manual_seed(2))
    return tokens, torch.tensor([1, 7, 20, 37, 18, 0]), torch.tensor([3, 100, 0, 55, 9, -100])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_of_masked_tokens(kind: str, tied: bool, make_ours: Make) -> None:
    """Against torch's formula over all logits, with the gradients of every weight."""
    tokens, places, targets = batch()
    model = make_ours(kind, Heads(mlm=True), tie_word_embeddings=tied)
    gradients = []
    for plain in (False, True):
        model.zero_grad()
        hidden = model(tokens, segments=SEGMENTS).flatten(0, 1)[places]
        if plain:
            loss = cross_entropy(model.mlm_logits(hidden), targets, reduction="sum")
        else:
            loss = model.mlm_loss(hidden, targets)
        (loss / 5).backward()
        gradients.append((loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))  # type: ignore[union-attr]
    (ours, found), (theirs, expected) = gradients
    assert ours == pytest.approx(theirs.item(), rel=1e-5) and ours.dtype == torch.float32
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
        assert gradient.any(), name  # every weight takes part
    assert model.mlm_logits(hidden).shape == (6, 101)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_give_the_same_gradients(kind: str, make_ours: Make) -> None:
    tokens, places, targets = batch()
    model = make_ours(kind, Heads(mlm=True), dropout=0.2).train()
    found = []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        torch.manual_seed(5)
        model.mlm_loss(model(tokens, segments=SEGMENTS).flatten(0, 1)[places], targets).backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])  # type: ignore[union-attr]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_for_training_alone(kind: str, make_ours: Make) -> None:
    tokens = batch()[0]
    model, plain = make_ours(kind, Heads(), dropout=0.5), make_ours(kind, Heads())
    assert torch.equal(model(tokens), plain(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize(("dropout", "own", "same"), [(0.0, 0.5, False), (0.0, None, True), (0.0, 0.0, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_classifier_has_a_dropout_of_its_own(
    kind: str, dropout: float, own: float | None, same: bool, make_ours: Make
) -> None:
    model = make_ours(kind, Heads(labels=("a", "b")), dropout=dropout, classifier_dropout=own).train()
    hidden = model(batch()[0])
    logits = [model.class_logits(hidden, torch.tensor([0, 19])) for _ in range(2)]
    assert torch.equal(*logits) == same


def test_the_mean_of_pieces() -> None:
    hidden = torch.randn(2, 19, 3)
    means = mean_of_pieces(hidden, torch.tensor([19, 0, 30, 5]), SEGMENTS)
    flat = hidden.flatten(0, 1)
    expected = [flat[19:30].mean(0), flat[:5].mean(0), flat[30:].mean(0), flat[5:19].mean(0)]
    torch.testing.assert_close(means, torch.stack(expected))
    rows = mean_of_pieces(hidden, torch.tensor([19, 0]), None)
    torch.testing.assert_close(rows, hidden.mean(1).flip(0))
    half = mean_of_pieces(hidden.to(torch.bfloat16), torch.tensor([0]), None)
    assert half.dtype == torch.float32  # a sum of many halves would lose its end


def test_initial_weights() -> None:
    """BERT: one normal distribution. ModernBERT: truncated at two deviations, what is added to the stream smaller."""
    shape: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 8, "initializer_range": 0.05}
    torch.manual_seed(0)
    bert = new_model(ModelConfig(architecture="bert", **shape), 1000, Heads(mlm=True, nsp=True))
    for name, parameter in bert.named_parameters():
        if parameter.dim() > 1 and parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(0.05, rel=0.1), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        elif name.endswith("LayerNorm.weight"):
            assert (parameter == 1).all(), name
    modern = dict(new_model(ModelConfig(architecture="modernbert", **shape), 1000, Heads(mlm=True)).named_parameters())
    cut = 0.8796  # the standard deviation of a normal one that is cut at two
    for name in (
        "model.layers.3.attn.Wqkv.weight",
        "model.layers.3.mlp.Wi.weight",
        "model.embeddings.tok_embeddings.weight",
    ):
        assert modern[name].std().item() == pytest.approx(0.05 * cut, rel=0.05), name
        assert modern[name].abs().max() <= 0.1, name
    for name in ("model.layers.3.attn.Wo.weight", "model.layers.3.mlp.Wo.weight", "head.dense.weight"):
        assert modern[name].std().item() == pytest.approx(0.05 * cut / 4, rel=0.05), name  # sqrt(2 * 8) = 4


@pytest.mark.parametrize("kind", KINDS)
def test_depths(kind: str, make_ours: Make) -> None:
    model = make_ours(kind, Heads(labels=("a", "b")))
    depths = {name: model.depth_of(name) for name, _ in model.named_parameters()}
    assert set(depths.values()) == set(range(7))
    for number, block in enumerate(model.blocks):
        own = {id(parameter) for parameter in block.parameters()}
        assert {depths[name] for name, p in model.named_parameters() if id(p) in own} == {number + 1}
    assert all(depth == 0 for name, depth in depths.items() if "embeddings" in name)
    assert depths["classifier.weight"] == 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_and_half_precision(kind: str, make_ours: Make, tmp_path: Path) -> None:
    model = make_ours(kind, Heads(mlm=True))
    plain = model.heads.plain()
    same = build_model(model.config, 101, Heads.from_plain(plain), model.state_dict(), where="here")
    assert torch.equal(
        same.state_dict()["cls.predictions.bias" if kind == "bert" else "decoder.bias"][:101], model.decoder_bias[:101]
    )
    save_model_directory(tmp_path / "m", model.to(torch.bfloat16), tokenizer_files={}, generation=None, mateconv={})
    assert load_model_directory(tmp_path / "m").model.dtype == torch.bfloat16
    assert not (tmp_path / "m" / "generation_config.json").exists()


def test_pairs_need_two_token_types() -> None:
    with pytest.raises(UserError, match="type_vocab_size 1: sentence pairs have two token types"):
        new_model(ModelConfig(architecture="bert", type_vocab_size=1), 101, Heads(mlm=True, nsp=True))


def test_what_a_task_trains_and_what_an_architecture_lacks() -> None:
    config = ModelConfig(num_attention_heads=2, num_key_value_heads=4, qk_norm=True, head_dim=7 * 2)
    bert = settled(config, ["bert", "modernbert"], ())
    assert (bert.architecture, bert.layer_norm_eps, bert.head_size, bert.feed_forward_size) == (
        "bert",
        1e-12,
        128,
        1024,
    )
    assert not bert.qk_norm and bert.num_key_value_heads == 4 and bert.head_dim is None  # as if nobody had set them
    assert settled(bert, ["bert", "modernbert"], ()) == bert
    modern = settled(ModelConfig(architecture="modernbert"), ["bert", "modernbert"], ())
    assert (modern.rope_theta, modern.layer_norm_eps, modern.window, modern.feed_forward_size) == (
        160000.0,
        1e-5,
        64,
        384,
    )
    assert [modern.is_local(layer) for layer in range(4)] == [False, True, True, False]
    with pytest.raises(UserError, match=r"--qk_norm: the architecture bert has no such thing \(only llama\)"):
        settled(config, ["bert"], {"qk_norm"})
    with pytest.raises(UserError, match="architecture modernbert: this task trains bert"):
        settled(modern, ["bert"], ())
    with pytest.raises(UserError, match="num_attention_heads 2 is not a multiple of num_key_value_heads 4"):
        settled(config, ["llama"], ())


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("bert", {"layer_norm_eps": 0.5}),
        ("modernbert", {"layer_norm_eps": 0.5}),
        ("modernbert", {"rope_theta": 3.0}),
        ("modernbert", {"local_rope_theta": 3.0}),
        ("modernbert", {"local_attention": 2}),
        ("modernbert", {"global_attn_every_n_layers": 2}),
    ],
)
def test_what_the_settings_of_a_trunk_change(kind: str, changes: dict[str, Any], make_ours: Make) -> None:
    tokens = batch()[0]
    plain, changed = make_ours(kind, Heads())(tokens), make_ours(kind, Heads(), **changes)(tokens)
    assert (plain - changed).abs().max() > 1e-2
