"""The models a run hands out: best/ and final/, directories that `transformers` loads as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.build import new_model
from model.config import ModelConfig
from model.directory import CONFIG, save_model_directory
from model.encoder.heads import Heads
from model.unfilled import unfilled
from tokenization.framing import framed
from training.batching.datasets import TrainingData
from training.state import RunState
from training.tasks.base import Task


def provenance(task: Task, state: RunState, license: str | None = None) -> dict[str, Any]:
    """What is ours to say about a model: the `mateconv` key of its config.json, and of a checkpoint."""
    data = task.data
    return {
        **({} if license is None else {"license": license}),
        **task.provenance(),
        "weights": "raw",
        "step": state.step,
        "tokens": state.tokens,
        "dataset": data.train.identity,
        "tokenizer": data.tokenizer.fingerprint,
    }


def save_model(path: Path, content: Mapping[str, Any], data: TrainingData, card: str) -> None:
    """Write the model of a checkpoint's `content` to the directory `path`, with its `card`, whole or not at all.

    Where an average of the weights is kept, it is the model.
    """
    weights, kind = content["model"], "raw"
    if "ema" in content:
        weights, kind = {**weights, **content["ema"]["weights"]}, "ema"
    with unfilled():
        heads = Heads.from_plain(content["heads"]) if content.get("heads") else None
        model = new_model(ModelConfig(**content["model_config"]), content["vocab_size"], heads)
    model.load_state_dict(weights, assign=True)  # the tensors themselves, no copy
    roles = data.tokenizer.roles
    ids: dict[str, int | list[int] | None] = {"eos_token_id": roles.end_of_text, "pad_token_id": roles.pad}
    if content["mateconv"].get("chat_trained"):
        ends = (roles.turn_end, roles.end_of_text)
        ids["eos_token_id"] = [token for token in ends if token is not None]
    tokenizer = data.tokenizer
    if heads is not None:
        ids = {"pad_token_id": roles.pad, "cls_token_id": roles.cls, "sep_token_id": roles.sep}
        tokenizer = framed(tokenizer)
    mateconv = {**content["mateconv"], "weights": kind}
    save_model_directory(path, model, tokenizer_files=tokenizer.files(), generation=ids, mateconv=mateconv, card=card)


def saved_step(path: Path) -> int | None:
    """The step of the model in the directory `path`; None when there is none of ours."""
    try:
        return int(json.loads((path / CONFIG).read_bytes())["mateconv"]["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
