"""What an output was made from: the file beside it that keeps another input, model or option from going on with it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foundation import atomic, fingerprint
from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.text import TextGenerator

VERSION = 1
SAME_TEXT = ("preset", "use_cache", "prompt_lookup_num_tokens")
"""Options that are other words for the rest of them, or change how fast a text is made, not which one it is."""


@dataclass(frozen=True)
class MadeFrom:
    """Everything that decides the rows."""

    input: str
    """SHA-256 of the batch file."""
    model: str
    """SHA-256 of weights, shape, tokenizer and conventions, wherever they lie."""
    options: Mapping[str, Any]
    drawn_seed: int | None
    """Where no seed was given: the one that the first run drew for all that go on."""

    @classmethod
    def of(cls, generator: TextGenerator, config: GenerationConfig, source: Path) -> MadeFrom:
        """What a run is about to use."""
        options = config.model_dump(mode="json", exclude=set(SAME_TEXT)) | {"quantization": generator.quantization}
        drawn = secrets.randbits(62) if config.seed is None else None
        return cls(fingerprint.of_file(source), model_fingerprint(generator, config), options, drawn)

    @classmethod
    def read(cls, path: Path) -> MadeFrom | None:
        """What `path` says; None where it says nothing that this version understands."""
        try:
            value = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        kinds = {"version": int, "input": str, "model": str, "options": dict, "drawn_seed": int | None}
        if not isinstance(value, dict) or not all(isinstance(value.get(key), kind) for key, kind in kinds.items()):
            return None
        same = value["version"] == VERSION
        return cls(value["input"], value["model"], value["options"], value["drawn_seed"]) if same else None

    def write(self, path: Path) -> None:
        """Replace `path`, durably."""
        options = dict(self.options)
        value = {"version": VERSION, "input": self.input, "model": self.model, "options": options}
        atomic.write_json(path, {**value, "drawn_seed": self.drawn_seed})

    def differences(self, now: MadeFrom) -> list[str]:
        """What is not the same `now`, in words."""
        found = [
            f"the {name} (its fingerprint was {fingerprint.short(was)}, is {fingerprint.short(new)})"
            for name, was, new in (("batch file", self.input, now.input), ("model", self.model, now.model))
            if was != new
        ]
        names = dict.fromkeys([*self.options, *now.options])
        pairs = [(name, self.options.get(name), now.options.get(name)) for name in names]
        return found + [f"{name} (was {was}, is {new})" for name, was, new in pairs if was != new]


def model_fingerprint(generator: TextGenerator, config: GenerationConfig) -> str:
    """Hex SHA-256 of all that decides what a model writes: the same for a directory and a copy of it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    for name, content in sorted(generator.tokenizer.files().items()):
        digest.update(f"{name} {fingerprint.of_bytes(content)}\n".encode())
    begun = generator.requests("a", config)[0]
    conventions = [list(begun.prompt), sorted(begun.stop), generator.can_chat]
    digest.update(fingerprint.of_json([generator.model.config.model_dump(mode="json"), conventions]).encode())
    return digest.hexdigest()


def refuse_other(path: Path, was: MadeFrom, now: MadeFrom) -> None:
    """`UserError` where the rows of `path` were made from something else."""
    if found := was.differences(now):
        other = ", ".join(found)
        raise UserError(f"{path}: was made from something else: {other}; give another --output, or --overwrite it")
