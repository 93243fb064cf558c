"""The settings that encoders alone have, as flags of train.py: they reach the run and the model that it hands out.

What each of them changes in a model: tests/model/encoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.presets import PRESETS
from tests.training.flags.trying import Tried, Trier

RUN = ["--max_seq_len", "17", "--batch_size", "4", "--learning_rate", "0.01", "--log_interval", "1", "--task", "mlm"]
RUN += ["--device", "cpu", "--dtype", "float32", "--compile", "false", "--sample_tokens", "0"]
SHAPE = ["--hidden_size", "16", "--num_hidden_layers", "3", "--num_attention_heads", "2"]
FLAGS: dict[str, dict[str, Any]] = {
    "bert": {"layer_norm_eps": 0.5, "type_vocab_size": 3, "dropout": 0.25, "classifier_dropout": 0.5},
    "modernbert": {
        "layer_norm_eps": 0.5,
        "rope_theta": 3.0,
        "local_rope_theta": 2.0,
        "local_attention": 4,
        "global_attn_every_n_layers": 2,
        "classifier_dropout": 0.5,
        "classifier_pooling": "cls",
    },
}
WRITTEN = {
    "bert": {"dropout": "hidden_dropout_prob"},
    "modernbert": {"layer_norm_eps": "norm_eps", "rope_theta": "global_rope_theta"},
}


@pytest.fixture
def run(command: Any, make_dataset: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Trier:
    """Runs of three steps of a tiny encoder."""
    command.base = [*RUN, "--train_data_path", str(dataset)]
    return Trier(command, make_dataset, monkeypatch, {})


def written(run: Tried) -> dict[str, Any]:
    """config.json of the model that the run hands out."""
    values: dict[str, Any] = json.loads((run.path / "final" / "config.json").read_text())
    return values


@pytest.mark.parametrize("architecture", FLAGS)
def test_flags_reach_the_model(architecture: str, run: Trier) -> None:
    flags = [word for leaf, value in FLAGS[architecture].items() for word in (f"--{leaf}", str(value))]
    tried = run.good("--architecture", architecture, *SHAPE, *flags)
    config, found = tried.content["model_config"], written(tried)
    for leaf, value in FLAGS[architecture].items():
        assert config[leaf] == value == found[WRITTEN[architecture].get(leaf, leaf)], leaf
    assert found["architectures"] == [{"bert": "BertForMaskedLM", "modernbert": "ModernBertForMaskedLM"}[architecture]]
    other = next(name for name in FLAGS if name != architecture)
    changed = run("--architecture", other, *SHAPE, "--resume_from", str(tried.path / "ckpt.pth"), out=tried.path.name)
    assert changed.code == 2 and f"architecture: {architecture} in the checkpoint, {other} now" in changed.err


def test_flags_of_decoders_are_refused(run: Trier) -> None:
    refused = run("--qk_norm", "true", "--num_key_value_heads", "2")
    assert refused.code == 2 and "--qk_norm: the architecture bert has no such thing" in refused.err
    assert "--num_key_value_heads: the architecture bert" in refused.err


def test_a_preset_of_an_encoder(run: Trier) -> None:
    content = run.good("--preset", "micro-v2").content
    shape = {key: content["model_config"][key] for key in ("num_hidden_layers", "num_attention_heads", "hidden_size")}
    assert shape == {key: PRESETS["micro-v2"][key] for key in shape}
    assert content["model"]["bert.encoder.layer.0.intermediate.dense.weight"].shape == (4 * 8, 8)
