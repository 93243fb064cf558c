"""Starting from another model: what is taken over, what is new, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from model.build import new_model
from model.config import ModelConfig
from model.directory import load_model_directory, save_model_directory
from model.encoder.heads import Heads
from tests.training.finetuning.conftest import NAMES, good
from tokenization.tokenizer import Tokenizer
from training.finetuning.init_from import InitialModel
from training.saving import checkpoint

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                         "max_position_embeddings": 24}  # fmt: skip


def saved(path: Path, words: Tokenizer, heads: Heads, architecture: str = "bert", **config: Any) -> Path:
    """A model directory with random weights."""
    torch.manual_seed(1)
    model = new_model(ModelConfig(architecture=architecture, **{**SIZES, **config}), words.vocab_size, heads)
    save_model_directory(path, model, tokenizer_files=words.files(), generation=None, mateconv={})
    return path


def started(path: Path, words: Tokenizer, heads: Heads) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The weights of the directory, of a fresh model, and of the same model started from the directory."""
    initial = InitialModel(path, words)
    torch.manual_seed(2)
    model = new_model(initial.shape(ModelConfig(), (), 16), words.vocab_size, heads)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initial.put_into(model)
    return dict(load_model_directory(path).model.state_dict()), fresh, dict(model.state_dict())


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_the_trunk_is_taken_over_and_the_head_is_new(tmp_path: Path, words: Tokenizer, architecture: str) -> None:
    path = saved(tmp_path / "mlm", words, Heads(mlm=True), architecture)
    old, fresh, new = started(path, words, Heads(labels=("a", "b")))
    for name, tensor in new.items():
        source = old[name] if name in old else fresh[name]
        assert torch.equal(tensor, source), name
    shared = new.keys() & old.keys()
    assert len(shared) == len(new) - (4 if architecture == "bert" else 2) and not any(
        name.startswith("classifier.") for name in shared
    )


@pytest.mark.parametrize("names,kept", [(("a", "b", "c"), True), (("a", "c", "b"), False), (("a", "b"), False)])
def test_a_classifier_of_the_same_classes_goes_on(
    tmp_path: Path, words: Tokenizer, names: tuple[str, ...], kept: bool
) -> None:
    path = saved(tmp_path / "old", words, Heads(labels=("a", "b", "c")))
    old, fresh, new = started(path, words, Heads(labels=names))
    assert torch.equal(new["classifier.weight"], (old if kept else fresh)["classifier.weight"])
    assert torch.equal(new["bert.pooler.dense.weight"], old["bert.pooler.dense.weight"])


def test_a_directory_that_transformers_wrote(tmp_path: Path, words: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=words.vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=20,
    )  # fmt: skip
    theirs = transformers.BertModel(config)
    theirs.save_pretrained(tmp_path / "hf")
    words.save(tmp_path / "hf")
    initial = InitialModel(tmp_path / "hf", words)
    shape = initial.shape(ModelConfig(), frozenset(), 20)
    assert (shape.intermediate_size, shape.dropout) == (24, 0.1)
    assert initial.shape(ModelConfig(dropout=0.0, classifier_dropout=0.3), {"dropout"}, 20).dropout == 0.0
    model = new_model(shape, words.vocab_size, Heads(labels=("a", "b")))
    initial.put_into(model)
    tokens = torch.randint(10, words.vocab_size, (2, 7))
    with torch.no_grad():
        expected = theirs.eval()(tokens)
        assert torch.allclose(model.eval()(tokens), expected.last_hidden_state, atol=1e-5)


def test_what_does_not_fit_is_refused(tmp_path: Path, words: Tokenizer) -> None:
    path = saved(tmp_path / "mlm", words, Heads(mlm=True))
    with pytest.raises(UserError, match=r"leave --hidden_size out"):
        InitialModel(path, words).shape(ModelConfig(hidden_size=64), {"hidden_size"}, 16)
    assert InitialModel(path, words).shape(ModelConfig(hidden_size=64), (), 16).hidden_size == 16
    with pytest.raises(UserError, match="exceeds the 24 positions"):
        InitialModel(path, words).shape(ModelConfig(), (), 25)
    with pytest.raises(UserError, match="no such model directory"):
        InitialModel(tmp_path / "nowhere", words)


def test_another_vocabulary_is_refused(tmp_path: Path, words: Tokenizer) -> None:
    path = saved(tmp_path / "mlm", words, Heads(mlm=True))
    definition = words.json()
    vocabulary = definition["model"]["vocab"]
    one, other = [token for token in vocabulary if token.isalpha()][:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    swapped = {**words.files(), "tokenizer.json": json.dumps(definition).encode()}
    with pytest.raises(UserError, match=rf"its vocabulary is not the dataset's .*{one}.*--tokenizer"):
        InitialModel(path, Tokenizer.from_files(swapped, "swapped"))
    vocabulary["brandnew"] = words.vocab_size
    larger = {**words.files(), "tokenizer.json": json.dumps(definition).encode()}
    with pytest.raises(UserError, match=f"knows {words.vocab_size} tokens"):
        InitialModel(path, Tokenizer.from_files(larger, "larger"))


def test_a_run_starts_from_the_weights_and_a_resume_does_not_need_them(tuned: Any, pretrained: Path) -> None:
    """With a rate of next to nothing the trunk stays what it was."""
    still = ("--learning_rate", "1e-30", "--weight_decay", "0", "--max_steps", "2", "--lr_scheduler", "constant")
    done = good(tuned.call(*still))
    assert "starting from" in done.stdout and "new: bert.pooler.dense.bias" in done.stdout
    weights = checkpoint.load(tuned.directory / "out/finetune/reviews/ckpt.pth")["model"]
    for name, tensor in load_model_directory(pretrained).model.state_dict().items():
        if name.startswith("bert."):
            assert torch.allclose(tensor, weights[name], atol=1e-12), name
    at = tuned.base.index("--init_from")
    del tuned.base[at : at + 2]
    again = good(tuned.call(*still, "--resume", "--max_steps", "3"))
    assert "at step 2" in again.stdout and "starting from" not in again.stdout
    longer = tuned.call(*still, "--resume", "--max_steps", "4", "--max_seq_len", "33", "--allow_change", "max_seq_len")
    assert longer.returncode == 2 and "max_seq_len 33 exceeds the 32 positions" in longer.stderr, longer.stderr


def test_the_names_of_the_classes_stand_in_the_model(tuned: Any) -> None:
    good(tuned.call("--max_steps", "1"))
    config = json.loads((tuned.directory / "out/finetune/reviews/best/config.json").read_text())
    assert config["id2label"] == {str(number): name for number, name in enumerate(NAMES)}
    assert config["architectures"] == ["BertForSequenceClassification"]
