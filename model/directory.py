"""A model directory: what `transformers` loads with no custom code, written and read as a whole.

config.json · model.safetensors · generation_config.json · README.md · the tokenizer's files as opaque bytes. The key
`mateconv` of config.json holds what is ours alone. Nothing but safetensors is ever read as weights.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from foundation.atomic import naming, readable_directory, replace_directory, temporary_beside
from foundation.errors import UserError
from model.base import LanguageModel
from model.build import build_model, export_tensors
from model.config import ModelConfig
from model.encoder import interop as encoders
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads
from model.interop import from_transformers, to_transformers

CONFIG, GENERATION, CARD = "config.json", "generation_config.json", "README.md"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
ENCODER_TOKEN_IDS = ("cls_token_id", "sep_token_id")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
)


@dataclass(frozen=True)
class LoadedModel:
    """What a model directory holds."""

    model: LanguageModel
    """In evaluation mode, on the device and in the dtype asked for."""
    config: ModelConfig
    heads: Heads | None
    """An encoder's; None for a decoder."""
    tokenizer_files: dict[str, bytes]
    generation: dict[str, Any]
    mateconv: dict[str, Any]


def save_model_directory(
    path: Path,
    model: LanguageModel,
    *,
    tokenizer_files: Mapping[str, bytes],
    generation: Mapping[str, Any] | None,
    mateconv: Mapping[str, Any],
    card: str | None = None,
) -> None:
    """Write `path` as a whole: it holds the old model or the new one, never a mixture.

    `generation` is the content of generation_config.json, which an encoder has not; its ids of tokens stand in
    config.json too. `mateconv` must be plain JSON data, `card` is the text of README.md. The weights keep their dtype.
    """
    heads = model.heads if isinstance(model, Encoder) else None
    generation = {key: value for key, value in (generation or {}).items() if value is not None}
    dtype = next(model.parameters()).dtype
    config = to_transformers(model.config, model.vocab_size, dtype, heads)
    config |= {key: generation.get(key) for key in _token_ids(config)}
    config["mateconv"] = dict(mateconv)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with naming(path):
            temporary.mkdir()
            for name, data in tokenizer_files.items():
                if name not in TOKENIZER_FILES:
                    raise UserError(f"{path}: {name!r} is not the name of a tokenizer file; leave it out")
                (temporary / name).write_bytes(data)
            _write_json(temporary / CONFIG, config)
            if heads is None:
                _write_json(temporary / GENERATION, generation)
            if card is not None:
                (temporary / CARD).write_text(card, encoding="utf-8")
            tensors = export_tensors(model)
            if heads is not None:
                tensors = encoders.their_names(tensors, model.config)
            _write_tensors(temporary / WEIGHTS, tensors)
            # safetensors makes a file that only its owner can read; the one beside it has the mode that the user wants.
            shutil.copymode(temporary / CONFIG, temporary / WEIGHTS)
            replace_directory(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load_model_directory(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> LoadedModel:
    """Read a model directory; `dtype` None keeps what the directory says.

    `UserError`, naming the file and what to do, when something is missing, damaged or of a foreign kind.
    """
    path = readable_directory(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such model directory; train a model first or check the path")
    values = _read_json(path / CONFIG)
    config, vocab_size, stored = from_transformers(values, str(path / CONFIG))
    tensors = {name: tensor for file in _weight_files(path) for name, tensor in _read_tensors(file).items()}
    heads = None
    if config.is_encoder:
        heads, tensors = encoders.heads_of(values, encoders.our_names(tensors, config), str(path))
    model = build_model(
        config, vocab_size, heads, tensors, where=str(path), device=device, dtype=stored if dtype is None else dtype
    )
    generation = _read_json(path / GENERATION) if (path / GENERATION).exists() else {}
    ids = {key: values[key] for key in _token_ids(values) if values.get(key) is not None}
    mateconv = values.get("mateconv", {})
    if not isinstance(mateconv, dict):
        raise UserError(f"{path / CONFIG}: the key mateconv must hold an object; save the model again")
    for key in (*TOKEN_IDS, *ENCODER_TOKEN_IDS):
        _check_ids(key, (ids | generation).get(key), vocab_size if key == "bos_token_id" else None, path)
    _check_ids("mateconv.terminator", mateconv.get("terminator"), vocab_size, path)
    files = {name: (path / name).read_bytes() for name in TOKENIZER_FILES if (path / name).is_file()}
    return LoadedModel(model, config, heads, files, ids | generation, mateconv)


def _check_ids(key: str, value: Any, vocab_size: int | None, path: Path) -> None:
    """`UserError` unless `value` is null, a whole number or a list of them; of what a model reads, a token's."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    for token in ids:
        if type(token) is not int or (vocab_size is not None and not 0 <= token < vocab_size):
            raise UserError(f"{path}: {key} is {value!r}, which is no token of the model; save the model again")


def _token_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of config.json that name tokens; `transformers` has numbers of its own for those that it misses."""
    return (*TOKEN_IDS, *ENCODER_TOKEN_IDS) if config.get("model_type") in encoders.MODEL_TYPES else TOKEN_IDS


def _weight_files(path: Path) -> list[Path]:
    """The safetensors files of a directory: one, or those that the index of a large model names."""
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if not (path / INDEX).is_file():
        foreign = [file.name for pattern in ("*.bin", "*.pth", "*.pt") for file in path.glob(pattern)]
        found = f"; {', '.join(sorted(foreign))} is not read, because such files can run code" if foreign else ""
        raise UserError(f"{path / WEIGHTS}: no such file{found}; save the model as safetensors")
    mapping = _read_json(path / INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise UserError(f"{path / INDEX}: has no weight_map; restore the file from where the model came")
    names = sorted({str(name) for name in mapping.values()})
    for name in names:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise UserError(f"{path / INDEX}: {name!r} is not a safetensors file of this directory; do not trust it")
        if not (path / name).is_file():
            raise UserError(f"{path / name}: no such file, but {INDEX} names it; copy the whole model")
    return [path / name for name in names]


def _write_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))  # its only trace of a full disk
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), None, code) from None  # the last: Windows' own number is not errno


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{file}: damaged safetensors file ({error}); copy or save the model again") from None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {file.parent} is not a model directory") from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not valid JSON ({error}); copy or save the model again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: must hold an object, found a {type(value).__name__}; save the model again")
    return value


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
