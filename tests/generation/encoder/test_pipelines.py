"""Directories of `transformers` in our hands and ours in its: its pipelines give the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.encoder.text import TextEncoder
from model.directory import save_model_directory
from model.encoder.encoder import Encoder
from tests.generation.encoder.conftest import CLASSES, PRETRAINING, TEXTS
from tokenization.framing import framed
from tokenization.tokenizer import Tokenizer

Directory = Callable[[str, str], Path]
KINDS = ["wordpiece", "wordlevel", "bpe"]
FAMILIES = ["Bert", "ModernBert"]
PROMPTS = ["the film was {}.", "{} cat sat on {} mat", "was it {}?"]


def theirs(task: str, path: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    return transformers.pipeline(task, model=str(path), device="cpu", dtype=torch.float32)


def check_masks(path: Path) -> None:
    """The five best tokens of every mask, their probabilities and their logits."""
    pipeline, ours = theirs("fill-mask", path), TextEncoder.from_path(path, "cpu", "float32")
    for prompt in PROMPTS:
        text = prompt.replace("{}", ours.mask_name)
        expected = pipeline(text, top_k=5)
        expected = [expected] if isinstance(expected[0], dict) else expected  # one mask: one list
        masks = ours.fill_mask(text, 5)
        assert ours.fill_mask(prompt.replace("{}", "[MASK]"), 5) == masks
        tokens = pipeline.tokenizer(text, return_tensors="pt")
        logits = pipeline.model(**tokens).logits[0]
        assert [m.position for m in masks] == (tokens["input_ids"][0] == pipeline.tokenizer.mask_token_id).nonzero()[
            :, 0
        ].tolist()
        for mask, answers in zip(masks, expected, strict=True):
            assert [g.token_id for g in mask.predictions] == [answer["token"] for answer in answers]
            assert [g.token for g in mask.predictions] == [answer["token_str"] for answer in answers]
            shares = [answer["score"] for answer in answers]
            assert [g.probability for g in mask.predictions] == pytest.approx(shares, abs=1e-5)
            best = logits[mask.position].topk(5).values.tolist()
            assert [g.logit for g in mask.predictions] == pytest.approx(best, abs=1e-4)


def check_classes(path: Path) -> None:
    """The probability of every class, of texts that are packed here and padded there; too long ones are cut."""
    pipeline, ours = theirs("text-classification", path), TextEncoder.from_path(path, "cpu", "float32", batch_size=2)
    expected = pipeline(TEXTS, top_k=None, truncation=True, max_length=47, padding=True, batch_size=3)
    for found, answers in zip(ours.classify(TEXTS), expected, strict=True):
        assert found.probabilities == pytest.approx({a["label"]: a["score"] for a in answers}, abs=1e-5)
        assert found.label == answers[0]["label"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_their_masked_language_models(hugging_face: Directory, family: str, kind: str) -> None:
    check_masks(hugging_face(f"{family}ForMaskedLM", kind))


@pytest.mark.parametrize("family", FAMILIES)
def test_their_classifiers(hugging_face: Directory, family: str) -> None:
    check_classes(hugging_face(f"{family}ForSequenceClassification", "wordpiece"))


@pytest.mark.parametrize("name", ["BertModel", "BertForPreTraining", "ModernBertModel"])
def test_their_vectors(hugging_face: Directory, name: str) -> None:
    """Sentence vectors by the usual recipe: the mean over all tokens that are no padding."""
    transformers = pytest.importorskip("transformers")
    path = hugging_face(name, "bpe")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path))
    model = transformers.AutoModel.from_pretrained(str(path)).eval()
    padded = tokenizer(TEXTS, padding=True, truncation=True, max_length=47, return_tensors="pt")
    padded.pop("token_type_ids", None)
    with torch.no_grad():
        hidden = model(**padded).last_hidden_state
    real = padded["attention_mask"][..., None]
    expected = (hidden * real).sum(1) / real.sum(1)
    ours = TextEncoder.from_path(path, "cpu", "float32", batch_size=2)
    assert np.abs(ours.embed(TEXTS) - expected.numpy()).max() < 1e-4


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_our_models_in_their_pipelines(
    kinds: Callable[[str], Tokenizer], make_encoder: Callable[..., Encoder], architecture: str, tmp_path: Path
) -> None:
    tokenizer = kinds("bpe")
    for heads, check in ((PRETRAINING, check_masks), (CLASSES, check_classes)):
        path = tmp_path / check.__name__
        model = make_encoder(tokenizer, heads, architecture)
        ids = {"pad_token_id": tokenizer.roles.pad}
        save_model_directory(path, model, tokenizer_files=framed(tokenizer).files(), generation=ids, mateconv={})
        check(path)


def test_a_directory_with_nothing_but_a_vocabulary_file(hugging_face: Directory, tmp_path: Path) -> None:
    """As older BERT checkpoints come: config.json, weights, vocab.txt."""
    path = hugging_face("BertForMaskedLM", "wordpiece")
    tokenizer = Tokenizer.load(path)
    names = [tokenizer.id_to_token(n) or "" for n in range(tokenizer.vocab_size)]
    (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((path / file).read_bytes())
    old, new = (TextEncoder.from_path(place, "cpu", "float32") for place in (tmp_path, path))
    assert old.fill_mask("the film was [MASK].") == new.fill_mask("the film was [MASK].")
