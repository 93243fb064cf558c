"""The document records of a shard (`.docs.npy`): where each document came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError

NO_LABEL = -1

RECORD = np.dtype(
    [
        ("source", "<u4"),  # number of the input file in the manifest's `inputs`
        ("label", "<i4"),  # class label of the record, NO_LABEL for none
        ("offset", "<u8"),  # byte offset of the record in the (decompressed) source
        ("content_hash", "V16"),  # first 16 bytes of the SHA-256 of the cleaned text in UTF-8
    ]
)
"""One fixed-size record (32 bytes) a document, in the order of the shard's sequences."""


def read_records(path: Path, count: int) -> npt.NDArray[np.void]:
    """Map a shard's records, shape (count,). Raises `UserError` when the file is missing or another length."""
    try:
        records = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: the document records of a token shard are missing; make the dataset again") from None
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: damaged document records ({error}); make the dataset again") from None
    if records.dtype != RECORD or records.shape != (count,):
        raise UserError(f"{path}: {records.shape} document records of {records.dtype}, expected {count} of {RECORD}")
    return records  # type: ignore[no-any-return]
