"""The manifest: what a dataset is. A dataset directory holds exactly what its `manifest.json` names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from foundation import atomic, fingerprint
from foundation.errors import UserError
from shards.documents import EXTRAS

FORMAT = "mateconv-dataset"
FORMAT_VERSION = 1
FILE_NAME = "manifest.json"
TOKENIZER_DIRECTORY = "tokenizer"
SPLITS = ("train", "val", "test")
SHARD_NAME = r"[0-9]{5,}-[0-9a-f]{8}"
"""Its number and a piece of the hash of its content."""
SUFFIXES = (".bin", ".idx", ".docs.npy")
"""The files every shard has. Those of `shards.documents.EXTRAS` may lie beside them."""
OPTIONAL_SUFFIXES = tuple(suffix for suffix, _ in EXTRAS.values())


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Model):
    """One file of a shard."""

    bytes: int
    sha256: str


class ShardEntry(_Model):
    """One shard: the files `SPLIT/NAME.bin`, `.idx`, `.docs.npy`; where it has them `.spans.npy` and `.sents.npy`."""

    name: str = Field(pattern=rf"^{SHARD_NAME}$")  # a plain name: a manifest cannot lead out of its directory
    documents: int
    tokens: int
    text_bytes: int
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _all_files(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        if not set(SUFFIXES) <= set(files) <= {*SUFFIXES, *OPTIONAL_SUFFIXES}:
            raise ValueError(f"a shard has the files {', '.join(SUFFIXES)}, found {', '.join(sorted(files)) or 'none'}")
        return files


class SplitEntry(_Model):
    """One split, with the sums over its shards. `text_bytes` counts UTF-8 bytes of cleaned text."""

    documents: int
    tokens: int
    text_bytes: int
    shards: list[ShardEntry]


class InputEntry(_Model):
    """One input file. `fingerprint`: SHA-256 over the hex SHA-256 of its consecutive blocks of `block_bytes` bytes, or,
    where `pieces` are no bytes, over the digests of its extracted records. `options`: how it was read, label names,
    split and weight, as far as they differ from the defaults."""

    name: str
    bytes: int
    fingerprint: str
    pieces: str = "bytes"
    options: dict[str, Any] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As datasets made before there were `pieces` and `options` have it: their identity stays what it was."""
        value: dict[str, Any] = handler(self)
        return {
            k: v for k, v in value.items() if not (k == "pieces" and v == "bytes") and not (k == "options" and not v)
        }


class RoleEntry(_Model):
    """A token with a job: its text and its id."""

    token: str
    id: int


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON's")


class Manifest(_Model):
    """Identity and contents of a dataset directory, format version 1 (no clock time, host or path)."""

    format: Literal["mateconv-dataset"] = "mateconv-dataset"
    version: int = FORMAT_VERSION
    dtype: str = Field(pattern="^(uint16|int32)$")
    vocab_size: int
    roles: dict[str, RoleEntry]
    terminator: list[int]
    tokenizer_fingerprint: str
    pipeline_fingerprint: str
    settings: dict[str, Any]
    versions: dict[str, str]
    block_bytes: int
    inputs: list[InputEntry]
    splits: dict[str, SplitEntry]

    def encode(self) -> bytes:
        """The bytes of `manifest.json`."""
        return (json.dumps(self.model_dump(), indent=1, ensure_ascii=False) + "\n").encode()

    @property
    def identity(self) -> str:
        """Fingerprint of the dataset: SHA-256 of the manifest's bytes."""
        return fingerprint.of_bytes(self.encode())

    def save(self, directory: Path) -> None:
        """Publish: replace `directory/manifest.json` atomically."""
        atomic.write_bytes(directory / FILE_NAME, self.encode())

    @classmethod
    def load(cls, directory: Path) -> Manifest:
        """Read `directory/manifest.json`. Raises `UserError` when it is missing, damaged or of another version."""
        path = directory / FILE_NAME
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{directory}: no dataset there ({FILE_NAME} is missing). Make it with"
                f" `python -m pipeline.process --output {directory} --resume`"
            ) from None
        return cls.decode(data, str(path))

    @classmethod
    def decode(cls, data: bytes, path: str) -> Manifest:
        """The manifest in the bytes of a `manifest.json`; `path` names it in errors."""
        try:
            value = json.loads(data, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: damaged manifest ({error}); make the dataset again") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise UserError(f"{path}: not the manifest of a token dataset")
        if value.get("version") != FORMAT_VERSION:
            raise UserError(
                f"{path}: dataset format version {value.get('version')}, this program reads {FORMAT_VERSION}; "
                "make the dataset again with this version"
            )
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{path}: damaged manifest ({'.'.join(map(str, first['loc']))}: {first['msg']})") from None
