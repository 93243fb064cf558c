"""BERT and ModernBERT in the terms of `transformers`, and back: configuration, heads, names of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foundation.errors import UserError
from model.config import ModelConfig
from model.encoder.heads import Heads

MODEL_TYPES = ("bert", "modernbert")
# What such models may carry and ours do not have: (key, values that mean "not used").
UNSUPPORTED: Mapping[str, tuple[tuple[str, tuple[Any, ...]], ...]] = {
    "bert": (
        ("hidden_act", (None, "gelu")),
        ("position_embedding_type", (None, "absolute")),
        ("is_decoder", (None, False)),
        ("add_cross_attention", (None, False)),
    ),
    "modernbert": (
        ("hidden_activation", (None, "gelu")),
        ("classifier_activation", (None, "gelu")),
        *((key, (None, False)) for key in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")),
    ),
}
ANY_UNSUPPORTED = (
    ("quantization_config", (None,)),
    ("problem_type", (None, "single_label_classification")),
)
# The configuration's names for what ours has under another one.
RENAMED: Mapping[str, Mapping[str, str]] = {
    "bert": {"dropout": "hidden_dropout_prob"},
    "modernbert": {"dropout": "mlp_dropout", "layer_norm_eps": "norm_eps"},
}
THEIR_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "bert": {"layer_norm_eps": 1e-12, "dropout": 0.1, "max_position_embeddings": 512},
    "modernbert": {
        "layer_norm_eps": 1e-5,
        "dropout": 0.0,
        "max_position_embeddings": 8192,
        "classifier_pooling": "cls",
    },
}
CLASSES: Mapping[str, tuple[str, ...]] = {
    "bert": (
        "BertModel",
        "BertForPreTraining",
        "BertForMaskedLM",
        "BertForNextSentencePrediction",
        "BertForSequenceClassification",
    ),
    "modernbert": ("ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification"),
}
DECODER_BIAS = "cls.predictions.decoder.bias"
EMBEDDING = "model.embeddings.tok_embeddings.weight"


def to_transformers(config: ModelConfig, heads: Heads) -> dict[str, Any]:
    """What the `config.json` of an encoder says beside the keys that all models have."""
    own = _bert(config) if config.architecture == "bert" else _modernbert(config)
    labels = {}
    if heads.labels:
        names = dict(enumerate(heads.labels))
        labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    return {
        "architectures": [_class_of(config, heads)],
        "model_type": config.architecture,
        **own,
        **labels,
    }


def _class_of(config: ModelConfig, heads: Heads) -> str:
    prefix = "Bert" if config.architecture == "bert" else "ModernBert"
    if heads.labels:
        return f"{prefix}ForSequenceClassification"
    if heads.mlm and heads.nsp:
        return f"{prefix}ForPreTraining"
    if heads.nsp:
        return f"{prefix}ForNextSentencePrediction"
    return f"{prefix}ForMaskedLM" if heads.mlm else f"{prefix}Model"


def _bert(config: ModelConfig) -> dict[str, Any]:
    return {
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "classifier_dropout": config.classifier_dropout,
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": config.norm_eps,
        "position_embedding_type": "absolute",
    }


def _modernbert(config: ModelConfig) -> dict[str, Any]:
    """4.x of `transformers` reads the bases and the distance of global layers, 5.x `rope_parameters`, `layer_types`."""
    kinds = [
        "sliding_attention" if config.is_local(layer) else "full_attention" for layer in range(config.num_hidden_layers)
    ]
    bases = {"full_attention": config.rope_base, "sliding_attention": config.local_rope_theta}
    return {
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "norm_eps": config.norm_eps,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "decoder_bias": True,
        "attention_dropout": config.dropout,
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "classifier_dropout": config.head_dropout,  # null, which in BERT's means the dropout of everything, is refused
        "classifier_pooling": config.classifier_pooling,
        "local_attention": config.local_attention,
        "global_attn_every_n_layers": config.global_attn_every_n_layers,
        "layer_types": kinds,
        "global_rope_theta": config.rope_base,
        "local_rope_theta": config.local_rope_theta,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
    }


def settings_of(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of `ModelConfig` that the `config.json` of an encoder describes.

    `UserError`, naming `where`, for variants that our encoders do not have.
    """
    kind = str(values["model_type"])
    named = values.get("architectures") or []
    if named and named[0] not in CLASSES[kind]:
        raise UserError(f"{where}: {named[0]} is not supported; known are {', '.join(CLASSES[kind])}")
    for key, unused in (*UNSUPPORTED[kind], *ANY_UNSUPPORTED):
        if values.get(key) not in unused:
            raise UserError(f"{where}: {key} = {values[key]!r} is not supported; use a model without it")
    known = {*ModelConfig.model_fields} - {"preset", "architecture", "num_key_value_heads", "head_dim"}
    own = {key: values[key] for key in known if values.get(key) is not None}
    own |= {key: values[theirs] for key, theirs in RENAMED[kind].items() if values.get(theirs) is not None}
    if kind == "modernbert":
        own |= _layers(values, where)
        if own.get("classifier_dropout") is None:
            own["classifier_dropout"] = 0.0  # their default, where ours is that of the model
    return {
        **THEIR_DEFAULTS[kind],
        **own,
        "architecture": kind,
        "tie_word_embeddings": own.get("tie_word_embeddings", True),
    }


def _layers(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The bases of the rotary embeddings and the distance of global layers, in the words of 4.x or of 5.x."""
    rope = values.get("rope_parameters") or {}
    everywhere, nearby = (rope.get(kind) or {} for kind in ("full_attention", "sliding_attention"))
    for found in (everywhere, nearby):
        if found.get("rope_type", "default") != "default":
            raise UserError(f"{where}: rope_parameters {rope!r} is not supported; use a model with plain RoPE")
    base = everywhere.get("rope_theta") or values.get("global_rope_theta") or 160_000.0
    local = nearby.get("rope_theta") or values.get("local_rope_theta", 10_000.0) or base
    distance = values.get("global_attn_every_n_layers") or 3
    kinds = values.get("layer_types")
    if kinds is not None:
        everything = [layer for layer, kind in enumerate(kinds) if kind == "full_attention"]
        distance = everything[1] if len(everything) > 1 else max(1, len(kinds))
        if everything != list(range(0, len(kinds), distance)):
            raise UserError(
                f"{where}: layer_types {kinds!r} is not supported; global layers must come at even distances"
            )
    return {"rope_theta": base, "local_rope_theta": local, "global_attn_every_n_layers": distance}


def our_names(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """An encoder's tensors under the names that ours has.

    They may come without prefix (`BertModel` saves itself so), with the names of TensorFlow (gamma, beta), and hold
    tied matrices twice.
    """
    prefix = "bert." if config.architecture == "bert" else "model."
    named = {}
    for name, tensor in tensors.items():
        if name.endswith((".gamma", ".beta")):
            name = name.replace(".gamma", ".weight").replace(".beta", ".bias")
        if name.startswith(("embeddings.", "encoder.", "pooler.", "layers.", "final_norm.")):
            name = prefix + name
        named[name] = tensor
    named.pop("bert.embeddings.position_ids", None)  # the numbers from 0 on, in old files
    if config.architecture == "bert":
        bias = named.pop(DECODER_BIAS, None)  # where both are there, this is the one that counts
        if bias is not None:
            named["cls.predictions.bias"] = bias
    if config.tie_word_embeddings:
        named.pop("cls.predictions.decoder.weight", None)
        named.pop("decoder.weight", None)
    if config.architecture == "modernbert" and "head.dense.weight" in named and "classifier.weight" not in named:
        rows = named[EMBEDDING].shape[0] if EMBEDDING in named else 0
        named.setdefault("decoder.bias", torch.zeros(rows))  # decoder_bias: false
    return named


def their_names(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """An encoder's tensors as `transformers` saves them: where BERT's matrices are not tied, the biases stand twice."""
    bias = tensors.get("cls.predictions.bias")
    if bias is None or config.tie_word_embeddings:
        return dict(tensors)
    return {**tensors, DECODER_BIAS: bias.clone()}


def heads_of(values: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> tuple[Heads, dict[str, Tensor]]:
    """The heads whose weights are there (under our names), and the tensors without those that belong to none.

    A file often holds more than its class says: BERT's own have both heads of pretraining. `values` are those of
    config.json, for the names of classes. `UserError`, naming `where`, for a classifier of one class.
    """
    if "classifier.weight" in tensors:
        number = tensors["classifier.weight"].shape[0]
        if number < 2:
            raise UserError(
                f"{where}: its classifier gives one number, not a class; use a model of two classes or more"
            )
        named = {str(key): str(name) for key, name in (values.get("id2label") or {}).items()}
        labels = tuple(named.get(str(place), f"LABEL_{place}") for place in range(number))
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(("cls.", "decoder."))}
        return Heads(labels=labels), kept
    mlm = "cls.predictions.bias" in tensors or "decoder.bias" in tensors
    nsp = "cls.seq_relationship.weight" in tensors
    return Heads(mlm=mlm, nsp=nsp, pooler=not nsp and "bert.pooler.dense.weight" in tensors), dict(tensors)
