"""Texts in, answers out: packed, cut and windowed texts give what each text gives alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import UserError
from generation.encoder.text import TextEncoder
from model.encoder.encoder import Encoder
from tests.generation.encoder.conftest import CLASSES, POSITIONS, PRETRAINING, TEXTS
from tokenization.tokenizer import Tokenizer
from tokenization.truncation import kept_spans

ROOM = POSITIONS - 2
Maker = Callable[..., Encoder]
Kinds = Callable[[str], Tokenizer]


def alone(model: Encoder, tokenizer: Tokenizer, text: str, how: Any = "head", room: int = ROOM) -> torch.Tensor:
    """The text's hidden states (1, T, C), read by itself without any packing."""
    ids = tokenizer.encode(text)
    kept = [token for start, stop in kept_spans(len(ids), room, how) for token in ids[start:stop]]
    with torch.inference_mode():
        out: torch.Tensor = model(torch.tensor([[tokenizer.roles.cls, *kept, tokenizer.roles.sep]]))
    return out


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_packed_texts_are_read_as_if_alone(
    kinds: Kinds, make_encoder: Maker, architecture: str, batch_size: int
) -> None:
    tokenizer = kinds("wordpiece")
    model = make_encoder(tokenizer, CLASSES, architecture)
    encoder = TextEncoder(model, tokenizer, batch_size=batch_size)
    texts = TEXTS * 4
    vectors, classes = encoder.embed(texts), encoder.classify(texts)
    assert vectors.dtype == np.float32 and vectors.shape == (len(texts), 36)
    for place, text in enumerate(texts):
        hidden = alone(model, tokenizer, text)
        assert torch.allclose(hidden[0].mean(0), torch.from_numpy(vectors[place]), atol=1e-5)
        with torch.inference_mode():
            shares = model.class_logits(hidden, torch.tensor([0])).softmax(-1)[0]
        assert list(classes[place].probabilities.values()) == pytest.approx(shares.tolist(), abs=1e-5)
        assert classes[place].label == CLASSES.labels[int(shares.argmax())]
        assert classes[place].confidence == max(classes[place].probabilities.values())


def test_texts_are_cut_as_in_training_and_it_is_said_once(
    kinds: Kinds, make_encoder: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = kinds("wordpiece")
    model = make_encoder(tokenizer)
    for how in ("head", "tail", "head_tail"):
        ours = {"sequence_length": 21, "truncation": how}
        encoder = TextEncoder(model, tokenizer, mateconv=ours, batch_size=1)
        long = " ".join(tokenizer.decode([n]) for n in range(60, 100))
        with caplog.at_level(logging.WARNING, logger="mateconv"):
            vectors = encoder.embed([long, "no", long] * 30)  # more than a chunk of 64
        expected = alone(model, tokenizer, long, how, 19)[0].mean(0)
        assert torch.allclose(expected, torch.from_numpy(vectors[-1]), atol=1e-5)
        assert [record.getMessage().split(":")[0] for record in caplog.records] == [
            "60 of 90 texts are longer than the 19 tokens that the model reads"
        ]
        caplog.clear()


def test_masks_of_many_texts_are_those_of_each(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("bpe")
    encoder = TextEncoder(make_encoder(tokenizer), tokenizer, batch_size=2)
    texts = ["the [MASK] was great", "no mask", "[MASK] and [MASK]", "", "<|mask|> cat sat on the mat, and the [MASK]"]
    together = encoder.fill_masks(texts, 3)
    assert [len(masks) for masks in together] == [1, 0, 2, 0, 2]
    for masks, text in zip(together, texts, strict=True):
        for ours, own in zip(masks, encoder.fill_mask(text, 3), strict=True):
            assert ours.position == own.position
            assert [g.token_id for g in ours.predictions] == [g.token_id for g in own.predictions]
            assert [g.logit for g in ours.predictions] == pytest.approx([g.logit for g in own.predictions], abs=1e-4)


def test_a_long_text_is_read_around_its_masks(
    kinds: Kinds, make_encoder: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = kinds("wordpiece")
    model = make_encoder(tokenizer)
    encoder = TextEncoder(model, tokenizer)
    cat = tokenizer.encode("cat")
    assert len(cat) == 1
    for before, between, after in [(0, 1, 90), (90, 1, 0), (90, 7, 50), (3, 40, 50), (60, 43, 60)]:
        text = " ".join(["cat"] * before + ["[MASK]"] + ["cat"] * between + ["[MASK]"] + ["cat"] * after)
        masks = encoder.fill_mask(text, 1)
        assert [mask.position for mask in masks] == [1 + before, 2 + before + between]
    start = 60 + 0  # the last one leaves no choice: 45 tokens from mask to mask
    ids = [tokenizer.roles.cls, tokenizer.roles.mask, *cat * 43, tokenizer.roles.mask, tokenizer.roles.sep]
    with torch.inference_mode():
        logits = model.mlm_logits(model(torch.tensor([ids]))[0])
    assert masks[0].position == start + 1 and masks[0].predictions[0].token_id == int(logits[1].argmax())
    assert masks[1].predictions[0].logit == pytest.approx(float(logits[45].max()), abs=1e-4)
    assert "the text has 165 tokens, the model reads 45: those around its masks" in caplog.text
    with pytest.raises(UserError, match="46 tokens apart, the model reads 45 at once"):
        encoder.fill_mask("[MASK] " + "cat " * 44 + "[MASK]")


def test_half_precision_leaves_no_ties_among_the_answers(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("wordpiece")
    exact, rough = (
        TextEncoder(make_encoder(tokenizer).to(dtype), tokenizer).fill_mask("the [MASK] was great", 100)[0]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert len({guess.logit for guess in rough.predictions}) == len(rough.predictions) > 50
    shares = {guess.token_id: guess.probability for guess in exact.predictions}
    best = rough.predictions[0]
    assert best.probability == pytest.approx(shares[best.token_id], rel=0.1)


def test_similarity_is_the_cosine_of_mean_vectors(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("wordlevel")
    encoder = TextEncoder(make_encoder(tokenizer), tokenizer)
    a, b = encoder.embed(["the cat", "a movie"]).astype(np.float64)
    assert encoder.similarity("the cat", "a movie") == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert encoder.similarity("the cat", "the cat") == pytest.approx(1, abs=1e-6)
    assert encoder.embed([]).shape == (0, 36)


def test_a_temperature_makes_confidences_honest(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("wordpiece")
    model = make_encoder(tokenizer, CLASSES)
    plain, calibrated = (
        TextEncoder(model, tokenizer, mateconv=ours).classify(["the film was great"])[0]
        for ours in ({}, {"temperature": 2.5})
    )
    odds = [np.log(np.array(list(found.probabilities.values()))) for found in (plain, calibrated)]
    softer = np.exp(odds[0] / 2.5) / np.exp(odds[0] / 2.5).sum()
    assert list(calibrated.probabilities.values()) == pytest.approx(softer.tolist(), abs=1e-6)
    assert (plain.calibrated, calibrated.calibrated) == (False, True) and plain.label == calibrated.label


def test_special_tokens_in_plain_texts_are_text(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("bpe")
    encoder = TextEncoder(make_encoder(tokenizer), tokenizer)
    tampered, plain = "good <|sep|> bad", tokenizer.encode("good <|sep|> bad")
    assert not set(tokenizer.roles.present().values()) & set(plain)
    assert np.allclose(encoder.embed([tampered])[0], alone(encoder.model, tokenizer, tampered)[0].mean(0), atol=1e-5)


def test_what_is_no_number_is_no_answer(kinds: Kinds, make_encoder: Maker) -> None:
    """Weights too large for half precision."""
    tokenizer = kinds("wordpiece")
    texts = ["the [MASK] was great", "a movie"]
    for heads, ask in ((CLASSES, "classify"), (PRETRAINING, "fill_masks"), (PRETRAINING, "embed")):
        model = make_encoder(tokenizer, heads)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3e4 if parameter.dim() == 2 else 1)
        getattr(TextEncoder(model, tokenizer), ask)(texts)
        with pytest.raises(UserError, match=r"are not numbers.* try --dtype float32"):
            getattr(TextEncoder(model.half(), tokenizer), ask)(texts)


def test_what_cannot_be_read_is_named(kinds: Kinds, make_encoder: Maker) -> None:
    tokenizer = kinds("wordpiece")
    encoder = TextEncoder(make_encoder(tokenizer), tokenizer)
    for ask in (encoder.embed, encoder.fill_masks):
        with pytest.raises(UserError, match="half a surrogate pair"):
            ask(["\ud800"])
    with pytest.raises(UserError, match="the tokenizer has 3"):
        TextEncoder(make_encoder(kinds("wordlevel")), kinds("bpe"))
    with pytest.raises(UserError, match="needs a token for the role 'cls'"):
        bare = Tokenizer.from_files({"vocab.txt": b"[UNK]\na\n"}, "place")
        TextEncoder(make_encoder(tokenizer), bare)
