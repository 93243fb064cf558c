"""What a shard knows of its documents: their records (`.docs.npy`), and where a dataset has them, the tokens a loss
counts (`.spans.npy`) and the borders of sentences (`.sents.npy`).

The two optional files are sorted tables of fixed-size rows. They are sparse: a document without rows in `.spans.npy` is
plain text, all of whose tokens count; one without rows in `.sents.npy` is one sentence.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError, first_line

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


SPAN = np.dtype([("document", "<u4"), ("start", "<u4"), ("end", "<u4")])
"""The tokens at positions start … end - 1 of a document count *as targets*: a causal model earns its loss there when it
predicts them, so the token at position `start` counts at the input position `start - 1`. `document` is the number
within the shard. Rows ascend and do not overlap; a conversation of which nothing counts has one empty row 0 … 0."""

SENTENCE = np.dtype([("document", "<u4"), ("end", "<u4")])
"""A sentence of `document` (number within the shard) ends before position `end` and begins where the one before it
ends. The last one's end is where the document's terminator begins, or its length if it has none."""

EXTRAS: dict[str, tuple[str, np.dtype[np.void]]] = {
    "spans": (".spans.npy", SPAN),
    "sentences": (".sents.npy", SENTENCE),
}
"""The optional tables: name, suffix of the file, dtype of a row."""

Rows = npt.NDArray[np.void]


def encode_array(values: npt.NDArray[np.void]) -> bytes:
    """The bytes of an `.npy` file (format 1.0) of `values`."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_records(path: Path, count: int) -> Rows:
    """Map a shard's records, shape (count,). Raises `UserError` when the file is missing or another length."""
    records = _map(path, RECORD, "document records")
    if records.shape != (count,):
        raise UserError(f"{path}: {records.shape} document records, expected {count}; make the dataset again")
    return records


def read_rows(path: Path, name: str) -> Rows:
    """Map an optional table of a shard, shape (rows,). Raises `UserError` when it is missing or damaged."""
    return _map(path, EXTRAS[name][1], f"table of {name}")


def _map(path: Path, dtype: np.dtype[np.void], what: str) -> Rows:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: the {what} of a token shard are missing; make the dataset again") from None
    except Exception as error:  # NumPy reads its header as Python: TokenError, SyntaxError; or as a zip: BadZipFile
        raise UserError(f"{path}: damaged {what} ({first_line(error)}); make the dataset again") from None
    if values.dtype != dtype or values.ndim != 1:
        raise UserError(f"{path}: {what} of {values.dtype} {values.shape}, expected {dtype}; make the dataset again")
    return values  # type: ignore[no-any-return]


def rows_of(rows: Rows, document: int) -> Rows:
    """The rows of one document, from a mapped table. Costs O(log rows)."""
    numbers = rows["document"]  # a view; NumPy's searchsorted would copy all of it
    first = bisect_left(numbers, document)
    return rows[first : bisect_left(numbers, document + 1, lo=first)]


def check_rows(name: str, rows: Rows, lengths: npt.NDArray[np.integer], terminator: int) -> str | None:
    """What is wrong with the table `name` of a shard whose documents have `lengths` (n,) tokens, the last `terminator`
    of which are no text; None when all is well."""
    documents, ends = rows["document"].astype(np.int64), rows["end"].astype(np.int64)
    if len(rows) and documents.max() >= len(lengths):
        return f"names document {documents.max()} of {len(lengths)}"
    if (np.diff(documents) < 0).any():
        return "the documents are not in order"
    new = np.diff(documents, prepend=-1) > 0
    before = np.where(new, 0, np.concatenate([[0], ends[:-1]])[: len(ends)])
    if name == "spans":
        starts = rows["start"].astype(np.int64)
        wrong = (starts < before) | (ends < starts) | (ends > lengths[documents])
    else:
        last = np.append(new[1:], True)[: len(new)]
        wrong = (ends < before) | (last & (ends != lengths[documents] - terminator))
    return f"row {int(np.flatnonzero(wrong)[0])} lies outside its document or overlaps" if wrong.any() else None
