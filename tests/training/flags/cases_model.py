"""One case for each flag of the sections `data` and `model`: what it changes."""

from __future__ import annotations

import json
import queue
from typing import Any

import numpy as np

from model.presets import PRESETS
from tests.training.flags.trying import Trier, same_weights

MODEL_VALUES: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 40,
    "rope_theta": 3.0,
    "rms_norm_eps": 0.5,
    "qk_norm": True,
    "qkv_bias": True,
    "tie_word_embeddings": False,
    "initializer_range": 0.1,
    "dropout": 0.5,
}


def model_leaf(leaf: str) -> Any:
    """The case of a leaf of the architecture: it stands in the model that is handed out, and the run is another."""

    def case(run: Trier) -> None:
        value = MODEL_VALUES[leaf]
        tried = run.good(f"--{leaf}", str(value).lower())
        assert tried.content["model_config"][leaf] == value != run.base.content["model_config"][leaf]
        assert not same_weights(tried, run.base)
        assert tried.column("loss") != run.base.column("loss")

    return case


OF_ENCODERS: dict[str, Any] = {
    "architecture": "bert",
    "layer_norm_eps": 0.5,
    "type_vocab_size": 3,
    "local_init": False,
    "local_attention": 4,
    "global_attn_every_n_layers": 2,
    "local_rope_theta": 3.0,
    "classifier_dropout": 0.5,
    "classifier_pooling": "cls",
}


def of_encoders(leaf: str) -> Any:
    """The case of a leaf that decoders lack; tests/model/encoder shows what it changes in an encoder."""

    def case(run: Trier) -> None:
        tried = run(f"--{leaf}", str(OF_ENCODERS[leaf]))
        assert tried.code == 2
        assert leaf in tried.err and ("llama" in tried.err)

    return case


def preset(run: Trier) -> None:
    run.command.base = [word for word in run.command.base if word]
    shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    place = [i for i, word in enumerate(run.command.base) if word.removeprefix("--") in shape]
    run.command.base = [w for i, w in enumerate(run.command.base) if i not in place and i - 1 not in place]
    config = run.good("--preset", "micro-v2").content["model_config"]
    assert {key: config[key] for key in shape} == {key: PRESETS["micro-v2"][key] for key in shape}


def rope_scaling(run: Trier) -> None:
    tried = run.good("--rope_scaling", '{"rope_type": "linear", "factor": 4}')
    written = json.loads((tried.path / "final" / "config.json").read_text())
    assert written["rope_parameters"] == {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    assert tried.column("loss") != run.base.column("loss")
    refused = run("--rope_scaling", "linear")
    assert refused.code == 2 and "JSON" in refused.err


def max_position_embeddings(run: Trier) -> None:
    tried = run.good("--max_position_embeddings", "32")
    written = json.loads((tried.path / "final" / "config.json").read_text())
    assert written["max_position_embeddings"] == 32
    assert run("--max_position_embeddings", "16").code == 2  # shorter than the sequences


def train_data_path(run: Trier) -> None:
    other = run.make_dataset("other", [np.append(np.arange(7, 90), 0)] * 9)
    tried = run.good("--train_data_path", str(other))
    assert tried.content["dataset"] != run.base.content["dataset"]
    assert tried.column("loss") != run.base.column("loss")


def val_data_path(run: Trier) -> None:
    other = run.make_dataset("other", [], [np.append(np.arange(7, 90), 0)] * 3)
    tried = run.good("--val_data_path", str(other))
    assert tried.column("loss") == run.base.column("loss")
    assert tried.column("val_loss") != run.base.column("val_loss")


def tokenizer_path(run: Trier) -> None:
    np.arange(7, 270, dtype="<u2").tofile(run.command.directory / "plain.bin")
    own = run.command.base[-1] + "/tokenizer"
    assert run("--train_data_path", "plain.bin").code == 2
    assert run.good("--train_data_path", "plain.bin", "--tokenizer_path", own).content["vocab_size"] == 280


def max_seq_len(run: Trier) -> None:
    assert run.good("--max_seq_len", "23").column("tokens") == [3 * 23, 6 * 23, 9 * 23]


def prefetch_steps(run: Trier) -> None:
    seen: list[int] = []
    made = queue.Queue

    def watched(maxsize: int = 0) -> Any:
        seen.append(maxsize)
        return made(maxsize)

    run.monkeypatch.setattr(queue, "Queue", watched)
    tried = run.good("--prefetch_steps", "7")
    assert 7 in seen
    assert same_weights(tried, run.base)


def packing(run: Trier) -> None:
    """Whole documents in a sequence leave room at its end."""
    tried = run.good("--packing", "best_fit")
    assert tried.column("tokens")[-1] < run.base.column("tokens")[-1]


def document_mask(run: Trier) -> None:
    tried = run.good("--document_mask", "false")
    assert tried.column("loss") != run.base.column("loss")
    assert tried.column("tokens") == run.base.column("tokens")


CASES = {
    **{leaf: model_leaf(leaf) for leaf in MODEL_VALUES},
    **{leaf: of_encoders(leaf) for leaf in OF_ENCODERS},
    **{case.__name__: case for case in (
        preset, max_position_embeddings, train_data_path, val_data_path, tokenizer_path, max_seq_len, prefetch_steps,
        document_mask, packing, rope_scaling,
    )},
}  # fmt: skip
