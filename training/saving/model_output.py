"""The models a run hands out: best/ and final/, directories that `transformers` loads as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.decoder import Decoder
from model.directory import CONFIG, save_model_directory
from training.batching.datasets import TrainingData
from training.state import RunState


def provenance(data: TrainingData, state: RunState) -> dict[str, Any]:
    """What is ours to say about a model: the `mateconv` key of its config.json, and of a checkpoint."""
    manifest = data.train.manifest
    return {
        "objective": "causal",
        "chat_trained": False,
        "weights": "raw",
        "terminator": manifest.terminator if manifest else [],  # what stood before each document in training
        "step": state.step,
        "tokens": state.tokens,
        "dataset": data.train.identity,
        "tokenizer": data.tokenizer.fingerprint,
    }


def save_model(path: Path, model: Decoder, data: TrainingData, state: RunState) -> None:
    """Write `model` as it is after `state.step` to the directory `path`, whole or not at all."""
    roles = data.tokenizer.roles
    mateconv = provenance(data, state)
    generation = {"eos_token_id": roles.end_of_text, "pad_token_id": roles.pad}
    save_model_directory(path, model, tokenizer_files=data.tokenizer.files(), generation=generation, mateconv=mateconv)


def saved_step(path: Path) -> int | None:
    """The step of the model in the directory `path`; None when there is none of ours."""
    try:
        return int(json.loads((path / CONFIG).read_bytes())["mateconv"]["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
