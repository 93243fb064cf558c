"""The Megatron indexed-dataset format: constants, the index file, the choice of the token dtype.

Source: NVIDIA Megatron-LM, megatron/core/datasets/indexed_dataset.py. Two files:

    NAME.bin   tokens, little-endian, no header
    NAME.idx   9 bytes   magic `MMIDIDX\\0\\0`
               uint64    version, 1
               uint8     dtype code
               uint64    S, number of sequences
               uint64    D, number of entries of the document index (documents + 1)
               int32[S]  length of each sequence, in tokens
               int64[S]  position of each sequence in the .bin, in bytes
               int64[D]  sequence number at which each document starts, and S at the end

We write one sequence a document, so the document index is 0, 1, …, S.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
_HEADER = struct.Struct("<9sQBQQ")
DTYPE_CODES: dict[int, np.dtype[np.generic]] = {
    code: np.dtype(name).newbyteorder("<")
    for code, name in {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 8: "u2"}.items()  # 6 and 7 are floats: no tokens
}
_CODES = {dtype: code for code, dtype in DTYPE_CODES.items()}
UINT16_VOCABULARY_LIMIT = 65500
"""Megatron's own switch-over (`DType.optimal_dtype`): uint16 below this vocabulary size, int32 from it on."""


def token_dtype(vocab_size: int) -> np.dtype[np.generic]:
    """The dtype of the tokens for a vocabulary, by Megatron's rule. The only place that decides it."""
    return np.dtype("<u2") if vocab_size < UINT16_VOCABULARY_LIMIT else np.dtype("<i4")


@dataclass(frozen=True)
class Index:
    """A decoded `.idx` file; the arrays are views into a read-only memory map."""

    dtype: np.dtype[np.generic]
    lengths: npt.NDArray[np.int32]  # (S,) tokens
    pointers: npt.NDArray[np.int64]  # (S,) bytes
    document_index: npt.NDArray[np.int64]  # (D,) sequence numbers


def encode_index(lengths: npt.NDArray[np.int32], dtype: np.dtype[np.generic]) -> bytes:
    """The bytes of an `.idx` for S documents of the given `lengths` (S,), one sequence each, stored back to back."""
    count = len(lengths)
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    pointers = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if count else np.zeros(0, np.int64)
    return b"".join(
        [
            _HEADER.pack(MAGIC, VERSION, _CODES[dtype], count, count + 1),
            lengths.astype("<i4").tobytes(),
            pointers.astype("<i8").tobytes(),
            np.arange(count + 1, dtype="<i8").tobytes(),
        ]
    )


def read_index(path: Path) -> Index:
    """Map an `.idx` file. Raises `UserError` when it is missing, truncated or of another format."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except FileNotFoundError:
        raise UserError(f"{path}: the index file of a token shard is missing; make the dataset again") from None
    if len(header) < _HEADER.size or header[:9] != MAGIC:
        raise UserError(f"{path}: not a Megatron index file (its first bytes are {header[:9]!r})")
    _, version, code, sequences, documents = _HEADER.unpack(header)
    if version != VERSION or code not in DTYPE_CODES:
        raise UserError(f"{path}: Megatron index version {version}, dtype code {code} is not supported")
    expected = _HEADER.size + sequences * 12 + documents * 8
    if size != expected:
        raise UserError(f"{path}: damaged index, {size} bytes where its header announces {expected}")
    raw = np.memmap(path, dtype=np.uint8, mode="r", offset=0)
    lengths_end = _HEADER.size + sequences * 4
    pointers_end = lengths_end + sequences * 8
    return Index(
        DTYPE_CODES[code],
        np.frombuffer(raw, "<i4", sequences, _HEADER.size),
        np.frombuffer(raw, "<i8", sequences, lengths_end),
        np.frombuffer(raw, "<i8", documents, pointers_end),
    )
