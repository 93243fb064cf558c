"""Load a model for generation, with the tokenizer beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.base import LanguageModel
from model.loading import load_model
from tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class TrainedModel:
    """A model with what is needed to talk to it."""

    source: Path
    model: LanguageModel
    tokenizer: Tokenizer
    generation: dict[str, Any]
    """Content of generation_config.json: ids of the tokens that end a text, among others."""
    mateconv: dict[str, Any]


def load_trained(path: Path | None, device: torch.device | str, dtype: torch.dtype | None) -> TrainedModel:
    """Load what `path` names, or the newest model under out/. `UserError` says what is wrong."""
    found = load_model(path, device, dtype)
    tokenizer = Tokenizer.from_files(found.tokenizer_files, str(found.source))
    return TrainedModel(found.source, found.model, tokenizer, found.generation, found.mateconv)
