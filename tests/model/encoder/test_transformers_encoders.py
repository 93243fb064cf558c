"""Our encoders compute what those of `transformers` do, with their weights in ours and ours in theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from model.directory import load_model_directory, save_model_directory
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads

CLOSE = 1e-4
LABELS = ("bad", "so-so", "good")
CASES: dict[str, tuple[str, Heads, dict[str, Any], dict[str, Any]]] = {
    # name: (their class, heads, changes of their configuration, the same of ours)
    "BertModel": ("BertModel", Heads(pooler=True), {}, {}),
    "BertForMaskedLM": ("BertForMaskedLM", Heads(mlm=True), {}, {}),
    "BertForMaskedLM, untied": (
        "BertForMaskedLM",
        Heads(mlm=True),
        {"tie_word_embeddings": False},
        {"tie_word_embeddings": False},
    ),
    "BertForPreTraining": ("BertForPreTraining", Heads(mlm=True, nsp=True), {}, {}),
    "BertForNextSentencePrediction": ("BertForNextSentencePrediction", Heads(nsp=True), {}, {}),
    "BertForSequenceClassification": (
        "BertForSequenceClassification",
        Heads(labels=LABELS),
        {"id2label": dict(enumerate(LABELS))},
        {},
    ),
    "BertModel, odd heads": ("BertModel", Heads(pooler=True), {"num_attention_heads": 6}, {"num_attention_heads": 6}),
    "ModernBertModel": ("ModernBertModel", Heads(), {}, {}),
    "ModernBertForMaskedLM": ("ModernBertForMaskedLM", Heads(mlm=True), {}, {}),
    "ModernBertForMaskedLM, untied": (
        "ModernBertForMaskedLM",
        Heads(mlm=True),
        {"tie_word_embeddings": False},
        {"tie_word_embeddings": False},
    ),
    "ModernBertForMaskedLM, every second layer global": (
        "ModernBertForMaskedLM",
        Heads(mlm=True),
        {"global_attn_every_n_layers": 2, "local_attention": 9},
        {"global_attn_every_n_layers": 2, "local_attention": 9},
    ),
    "ModernBertForMaskedLM, other bases": (
        "ModernBertForMaskedLM",
        Heads(mlm=True),
        {"global_rope_theta": 523.0, "local_rope_theta": 7.0},
        {"rope_theta": 523.0, "local_rope_theta": 7.0},
    ),
    "ModernBertForSequenceClassification": (
        "ModernBertForSequenceClassification",
        Heads(labels=LABELS),
        {"id2label": dict(enumerate(LABELS))},
        {"classifier_pooling": "cls"},
    ),
    "ModernBertForSequenceClassification, mean": (
        "ModernBertForSequenceClassification",
        Heads(labels=LABELS),
        {"id2label": dict(enumerate(LABELS)), "classifier_pooling": "mean"},
        {},
    ),
}
LENGTHS = (13, 19, 7)  # of three texts; the longest fills a row


def texts() -> tuple[Tensor, Tensor, Tensor]:
    """Padded tokens, attention mask and token types of three texts, (3, 19) each."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 101, (3, 19), generator=generator)
    types = torch.randint(0, 3, (3, 19), generator=generator)
    mask = torch.arange(19)[None] < torch.tensor(LENGTHS)[:, None]
    return tokens.where(mask, 0), mask.long(), types.where(mask, 0)


@torch.no_grad()
def told_by_theirs(model: Any) -> dict[str, Tensor]:
    """What theirs says of `texts`, padded: hidden states of the real tokens, and the heads' logits."""
    tokens, mask, types = texts()
    bert = "Modern" not in type(model).__name__
    out = model(tokens, attention_mask=mask, output_hidden_states=True, **({"token_type_ids": types} if bert else {}))
    real = mask.bool()
    told = {f"hidden {n}": hidden[real] for n, hidden in enumerate(out.hidden_states)}
    kind = type(model).__name__
    if kind.endswith(("MaskedLM", "PreTraining")):
        told["mlm"] = (out.logits if kind.endswith("LM") else out.prediction_logits)[real]
    if kind.endswith("PreTraining"):
        told["nsp"] = out.seq_relationship_logits
    if kind.endswith("SentencePrediction"):
        told["nsp"] = out.logits
    if kind.endswith("Classification"):
        told["class"] = out.logits
    if kind == "BertModel":
        told["pooler"] = out.pooler_output
    return told


def padded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens, types (3, 19), segments with the padding as pieces of its own, and the texts' first places."""
    tokens, _, types = texts()
    borders = [0, 13, 19, 38, 38 + 7, 57]
    return tokens, types, torch.tensor(borders, dtype=torch.int32), torch.tensor([0, 19, 38])


def packed() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same texts in rows of 23: one and three have a row together; borders are repeated at the end."""
    tokens, _, types = texts()
    rows = []
    for source in (tokens, types):
        row = torch.zeros(2, 23, dtype=torch.int64)
        row[0, :13], row[0, 13:20], row[1, :19] = source[0, :13], source[2, :7], source[1]
        rows.append(row)
    return rows[0], rows[1], torch.tensor([0, 13, 20, 23, 42, 46, 46], dtype=torch.int32), torch.tensor([0, 23, 13])


@torch.no_grad()
def told_by_ours(model: Encoder, arranged: tuple[Tensor, Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """The same of ours, with the texts `arranged` in rows."""
    tokens, types, segments, places = arranged
    bert = model.config.architecture == "bert"
    seen: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, out: seen.append(out)) for block in model.blocks]
    hooks.append(model.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0])))
    hidden = model(tokens, segments=segments, token_types=types if bert else None)
    for hook in hooks:
        hook.remove()
    seen[-1] = hidden  # with the last norm, as theirs
    real = torch.cat([torch.arange(length) + first for length, first in zip(LENGTHS, places.tolist(), strict=True)])
    told = {f"hidden {n}": one.flatten(0, 1)[real] for n, one in enumerate(seen)}
    if model.heads.mlm:
        told["mlm"] = model.mlm_logits(hidden.flatten(0, 1)[real])
    if model.heads.nsp:
        told["nsp"] = model.nsp_logits(hidden.flatten(0, 1)[places])
    if model.heads.labels:
        told["class"] = model.class_logits(hidden, places, segments)
    if model.heads.pooler:
        told["pooler"] = model.get_submodule("bert.pooler")(hidden.flatten(0, 1)[places])
    return told


def assert_told_alike(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, told in theirs.items():
        assert (ours[name] - told).abs().max() < CLOSE, name
        assert told.std() > 0.01, name  # or the comparison would say little


@pytest.mark.parametrize("case", CASES)
def test_their_weights_in_ours(case: str, make_theirs: Any, tmp_path: Path) -> None:
    kind, heads, changes, _ = CASES[case]
    theirs = make_theirs(kind, **changes)
    theirs.save_pretrained(tmp_path)
    loaded = load_model_directory(tmp_path)
    assert loaded.heads == heads == loaded.model.heads and not loaded.model.training
    assert isinstance(loaded.model, Encoder)
    told = told_by_theirs(theirs)
    assert_told_alike(told_by_ours(loaded.model, padded()), told)
    assert_told_alike(told_by_ours(loaded.model, packed()), told)
    unused = 101 if case == "BertForMaskedLM, untied" else 0  # theirs then has a second bias that adds to nothing
    assert loaded.model.num_parameters() == theirs.num_parameters() - unused


@pytest.mark.parametrize("case", CASES)
def test_our_weights_in_theirs(case: str, make_ours: Any, tmp_path: Path) -> None:
    kind, heads, _, changes = CASES[case]
    ours = make_ours("modernbert" if "Modern" in kind else "bert", heads, **changes)
    ids = {"pad_token_id": 1, "cls_token_id": 2, "sep_token_id": 3}
    save_model_directory(tmp_path / "m", ours, tokenizer_files={}, generation=ids, mateconv={"step": 3})
    config = transformers.AutoConfig.from_pretrained(tmp_path / "m")
    assert config.architectures == [kind]
    assert (config.pad_token_id, config.cls_token_id, config.sep_token_id) == (1, 2, 3)
    theirs, report = getattr(transformers, kind).from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not any(report.values()), report
    told = told_by_theirs(theirs.eval())
    assert_told_alike(told_by_ours(ours, padded()), told)
    again = load_model_directory(tmp_path / "m")
    assert again.heads == heads and again.config == ours.config.model_copy(update=filled(again.config))
    assert all(torch.equal(tensor, again.model.state_dict()[name]) for name, tensor in real_rows(ours).items())


def filled(config: Any) -> dict[str, Any]:
    """The settings that were null, as a directory names them."""
    return {key: getattr(config, key) for key in ("layer_norm_eps", "rope_theta", "classifier_dropout")}


def real_rows(model: Encoder) -> dict[str, Tensor]:
    """The weights, with zeros in the padding of the vocabulary, as a loaded model has it."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in model.vocabulary_tensors & state.keys():
        state[name][model.vocab_size :] = 0
    return state
