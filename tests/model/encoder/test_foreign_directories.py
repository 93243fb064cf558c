"""Directories of BERT and ModernBERT as people have them: old names, no prefix, several files, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foundation.errors import UserError
from model.config import ModelConfig
from model.directory import load_model_directory
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads
from model.encoder.interop import MODEL_TYPES, settings_of

TOKENS = torch.randint(0, 101, (2, 17), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def written(make_theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory of each class, as `transformers` saves it."""
    kinds = ("BertModel", "BertForPreTraining", "BertForSequenceClassification", "ModernBertForMaskedLM")
    root = tmp_path_factory.mktemp("theirs")
    for kind in kinds:
        make_theirs(kind).save_pretrained(root / kind)
    return {kind: root / kind for kind in kinds}


Edit = Callable[[dict[str, Any], dict[str, Tensor]], dict[str, Tensor]]


def changed(source: Path, target: Path, edit: Edit) -> Path:
    """A copy of a directory whose configuration (in place) and tensors `edit` has changed."""
    target.mkdir()
    config, tensors = json.loads((source / "config.json").read_text()), load_file(source / "model.safetensors")
    tensors = edit(config, tensors)
    (target / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target / "model.safetensors")
    return target


def hidden(path: Path) -> Tensor:
    model = load_model_directory(path).model
    assert isinstance(model, Encoder)
    with torch.no_grad():
        out: Tensor = model(TOKENS)
    return out


def as_google_published(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both heads whatever the class says, gamma and beta, the tied matrix and its bias twice, numbered positions."""
    config["architectures"] = ["BertForMaskedLM"]
    for key in ("dtype", "tie_word_embeddings", "model_type"):
        config.pop(key, None)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"].clone()
    old["bert.embeddings.position_ids"] = torch.arange(61)[None]
    return old


def test_the_files_that_google_published(written: dict[str, Path], tmp_path: Path) -> None:
    path = changed(written["BertForPreTraining"], tmp_path / "m", as_google_published)
    assert any(name.endswith("gamma") for name in load_file(path / "model.safetensors"))
    assert load_model_directory(path).heads == Heads(mlm=True, nsp=True)
    assert torch.equal(hidden(path), hidden(written["BertForPreTraining"]))


@pytest.mark.parametrize("named", [True, False])
def test_a_trunk_with_and_without_prefix(named: bool, written: dict[str, Path], tmp_path: Path) -> None:
    assert "embeddings.LayerNorm.weight" in load_file(written["BertModel"] / "model.safetensors")

    def prefixed(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if not named:
            del config["architectures"]
        return {f"bert.{name}": tensor for name, tensor in tensors.items()}

    path = changed(written["BertModel"], tmp_path / "m", prefixed)
    assert load_model_directory(path).heads == load_model_directory(written["BertModel"]).heads == Heads(pooler=True)
    assert torch.equal(hidden(path), hidden(written["BertModel"]))


def test_a_trunk_without_pooler(written: dict[str, Path], tmp_path: Path) -> None:
    def without(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in tensors.items() if "pooler" not in name}

    path = changed(written["BertModel"], tmp_path / "m", without)
    assert load_model_directory(path).heads == Heads()
    assert torch.equal(hidden(path), hidden(written["BertModel"]))


@pytest.mark.parametrize("kind", ["BertForPreTraining", "ModernBertForMaskedLM"])
def test_several_files(kind: str, make_theirs: Any, written: dict[str, Path], tmp_path: Path) -> None:
    make_theirs(kind).save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(hidden(tmp_path), hidden(written[kind]))


def test_files_that_can_run_code_are_refused(make_theirs: Any, tmp_path: Path) -> None:
    theirs = make_theirs("BertModel")
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is not read, because such files can run code"):
        load_model_directory(tmp_path)


def test_classes_without_names_are_numbered(written: dict[str, Path]) -> None:
    path = written["BertForSequenceClassification"]
    assert "id2label" not in json.loads((path / "config.json").read_text())
    assert load_model_directory(path).heads == Heads(labels=("LABEL_0", "LABEL_1"))


def test_a_regression_is_no_classifier(make_theirs: Any, tmp_path: Path) -> None:
    make_theirs("BertForSequenceClassification", num_labels=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="its classifier gives one number, not a class"):
        load_model_directory(tmp_path)


def test_the_configuration_as_4_x_wrote_it(written: dict[str, Path], tmp_path: Path) -> None:
    def old(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        for key in ("layer_types", "rope_parameters", "dtype"):
            config.pop(key)
        config |= {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "global_attn_every_n_layers": 3}
        return tensors

    source = written["ModernBertForMaskedLM"]
    assert torch.equal(hidden(changed(source, tmp_path / "same", old)), hidden(source))

    def global_base(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        old(config, tensors)
        config["local_rope_theta"] = None
        return tensors

    config = load_model_directory(changed(source, tmp_path / "one base", global_base)).config
    assert config.local_rope_theta == config.rope_base == 160000.0


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_what_a_configuration_leaves_out_is_their_default(kind: str) -> None:
    from transformers import AutoConfig

    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    theirs = AutoConfig.for_model(kind).to_dict()
    short = {key: theirs[key] for key in ("model_type", *sizes)}
    assert ModelConfig(**settings_of(short, kind)) == ModelConfig(**settings_of(theirs, kind))


def test_a_decoder_without_bias_adds_nothing(written: dict[str, Path], tmp_path: Path) -> None:
    def without(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        config["decoder_bias"] = False
        return {name: tensor for name, tensor in tensors.items() if name != "decoder.bias"}

    model = load_model_directory(changed(written["ModernBertForMaskedLM"], tmp_path / "m", without)).model
    assert isinstance(model, Encoder) and model.heads == Heads(mlm=True)
    assert not model.decoder_bias.any()


@pytest.mark.parametrize(
    ("kind", "key", "value", "says"),
    [
        ("BertModel", "hidden_act", "relu", "hidden_act = 'relu' is not supported"),
        ("BertModel", "is_decoder", True, "is_decoder = True"),
        ("BertModel", "position_embedding_type", "relative_key", "position_embedding_type"),
        ("BertModel", "architectures", ["BertForTokenClassification"], "BertForTokenClassification is not supported"),
        ("BertModel", "num_attention_heads", 7, "not a multiple of num_attention_heads 7"),
        ("BertModel", "hidden_size", None, "lacks hidden_size"),
        ("BertForSequenceClassification", "problem_type", "regression", "problem_type = 'regression'"),
        ("ModernBertForMaskedLM", "norm_bias", True, "norm_bias = True"),
        ("ModernBertForMaskedLM", "layer_types", ["full_attention"] * 2 + ["sliding_attention"] * 3, "layer_types"),
        ("ModernBertForMaskedLM", "rope_parameters", {"full_attention": {"rope_type": "yarn"}}, "plain RoPE"),
        ("ModernBertForMaskedLM", "classifier_activation", "silu", "classifier_activation = 'silu'"),
    ],
)
def test_variants_that_ours_lacks_are_named(
    kind: str, key: str, value: Any, says: str, written: dict[str, Path], tmp_path: Path
) -> None:
    def edit(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        config[key] = value
        return tensors

    path = changed(written[kind], tmp_path / "m", edit)
    with pytest.raises(UserError, match=says) as caught:
        load_model_directory(path)
    assert str(path / "config.json") in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "shape", "says"),
    [
        (
            "bert.encoder.layer.3.output.dense.weight",
            None,
            "lacks the tensors bert.encoder.layer.3.output.dense.weight",
        ),
        ("bert.embeddings.word_embeddings.weight", (97, 30), r"word_embeddings.weight has shape \(97, 30\), expected"),
        ("bert.encoder.layer.5.output.dense.weight", (30, 37), "holds unknown tensors bert.encoder.layer.5"),
        ("cls.predictions.transform.dense.weight", None, "lacks the tensors cls.predictions.transform.dense.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tensor: str, shape: tuple[int, int] | None, says: str, written: dict[str, Path], tmp_path: Path
) -> None:
    def edit(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors.pop(tensor, None)
        return tensors if shape is None else {**tensors, tensor: torch.zeros(shape)}

    with pytest.raises(UserError, match=says):
        load_model_directory(changed(written["BertForPreTraining"], tmp_path / "m", edit))
