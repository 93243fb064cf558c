"""Find and load a model: a model directory, a run directory or a training checkpoint. Tokenizer files stay bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from foundation.atomic import readable_directory
from foundation.errors import UserError
from model.base import LanguageModel
from model.build import build_model
from model.checkpoint_file import read_checkpoint
from model.config import ModelConfig
from model.directory import CONFIG, load_model_directory
from model.encoder.heads import Heads

OUT = Path("out")
CHECKPOINT = "ckpt.pth"
MODELS_OF_A_RUN = ("best", "final")  # in order of preference, before the checkpoint
TRAIN_FIRST = "train one with `python train.py` or name another with --model_path"


@dataclass(frozen=True)
class FoundModel:
    """A model and what lies beside it."""

    source: Path
    model: LanguageModel
    tokenizer_files: Mapping[str, bytes]
    generation: dict[str, Any]
    """Content of generation_config.json: ids of the tokens that end a text, among others."""
    mateconv: dict[str, Any]


def load_model(path: Path | None, device: torch.device | str, dtype: torch.dtype | None) -> FoundModel:
    """Load what `path` names, or the newest model under out/. `UserError` says what is wrong."""
    source = find_model(path)
    if source.is_file():
        model, files, mateconv = _load_checkpoint(source, device, dtype)
        return FoundModel(source, model, files, {}, mateconv)
    loaded = load_model_directory(source, device, dtype)
    return FoundModel(source, loaded.model, loaded.tokenizer_files, loaded.generation, loaded.mateconv)


def find_model(path: Path | None, out: Path = OUT) -> Path:
    """The model directory or checkpoint file that `path` means; None: that of the newest run under `out`."""
    if path is None:
        runs = models_below(out)
        if not runs:
            raise UserError(f"{out}: no trained model there; {TRAIN_FIRST}")
        return max(runs, key=lambda model: (_time(model), str(model)))
    if path.is_file():
        if path.suffix != ".pth":
            raise UserError(f"{path}: not a .pth checkpoint; give one, or a model or run directory")
        return path
    path = readable_directory(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such model; {TRAIN_FIRST}")
    if (path / CONFIG).is_file():
        return path
    model = _model_of_run(path)
    if model is None:
        wanted = ", ".join([CONFIG, *(f"{name}/" for name in MODELS_OF_A_RUN), CHECKPOINT])
        raise UserError(f"{path}: holds no model (looked for {wanted}); {TRAIN_FIRST}")
    return model


def _model_of_run(directory: Path) -> Path | None:
    for name in MODELS_OF_A_RUN:
        model = readable_directory(directory / name)
        if (model / CONFIG).is_file():
            return model
    return directory / CHECKPOINT if (directory / CHECKPOINT).is_file() else None


def models_below(out: Path) -> list[Path]:
    """The model of every run in or below `out`, and model directories that lie there by themselves."""
    found = []
    for folder, folders, files in os.walk(out):
        directory = Path(folder)
        folders[:] = [name for name in folders if not name.startswith(".") and name != "checkpoints"]
        model = directory if CONFIG in files else _model_of_run(directory)
        if model is not None:
            found.append(model)
            folders[:] = [name for name in folders if name not in MODELS_OF_A_RUN]
    return found


def _time(model: Path) -> float:
    return (model / CONFIG if model.is_dir() else model).stat().st_mtime


def _load_checkpoint(
    path: Path, device: torch.device | str, dtype: torch.dtype | None
) -> tuple[LanguageModel, Mapping[str, bytes], dict[str, Any]]:
    state = read_checkpoint(path, mapped=True)
    wanted = {"model_config": dict, "vocab_size": int, "model": dict, "tokenizer_files": dict}
    if not all(isinstance(state.get(key), wanted[key]) for key in wanted):
        raise UserError(f"{path}: not a checkpoint that train.py wrote (one holds {', '.join(wanted)}); give another")
    try:
        config = ModelConfig(**state["model_config"])
        heads = Heads(**state["heads"]) if isinstance(state.get("heads"), dict) else None
    except (ValidationError, TypeError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path}: its model_config does not fit this version ({problem}); train again") from None
    model = build_model(
        config,
        state["vocab_size"],
        heads,
        state["model"],
        where=str(path),
        device=device,
        dtype=torch.float32 if dtype is None else dtype,
    )
    mateconv = state.get("mateconv")
    ours = mateconv if isinstance(mateconv, dict) else {"objective": "causal", "chat_trained": False}
    return model, state["tokenizer_files"], ours
