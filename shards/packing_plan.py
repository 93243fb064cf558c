"""A packing plan: which pieces of documents lie together in which row. Computed once, kept as memory-mapped files.

    KEY/plan.json     what it was made for, counts, checksums
    KEY/pieces.bin    (start int64, length int32) of each piece, row after row
    KEY/rows.bin      int64, the first piece of each row, and the number of pieces at the end

What a piece is, and what its start counts, says the `Cutting` that the plan was made with: for a causal model the
inputs of one document, each followed by its target. A document longer than a row is cut (`shards.filling`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from foundation import atomic, fingerprint
from foundation.errors import UserError
from foundation.failpoints import failpoint
from foundation.locks import DirectoryLock
from shards.cutting import Cutting, NextTokens
from shards.dataset import Dataset
from shards.filling import PIECE, fill_rows
from shards.plan_place import first_writable

VERSION = 1
ROW = np.dtype("<i8")
ROWS_AT_ONCE = 2**20
REPORT_SECONDS = 5.0

Report = Callable[[float], None]


@dataclass(frozen=True)
class Summary:
    """The content of plan.json. `tokens` are those of the pieces, `frame` what each takes besides: the rest of
    rows x sequence_length is padding. `cut` are the documents that were cut or shortened."""

    version: int
    dataset: str
    split: str
    sequence_length: int
    terminator: int
    rows: int
    pieces: int
    tokens: int
    cut: int
    checksums: dict[str, str]
    cutting: dict[str, Any] = field(default_factory=dict)
    frame: int = 0
    parts: list[str] = field(default_factory=list)
    """Identities of the datasets that this one was joined of."""

    @property
    def padding(self) -> float:
        """The share of all places that holds nothing."""
        return 1 - (self.tokens + self.frame * self.pieces) / max(1, self.rows * self.sequence_length)

    @property
    def identity(self) -> str:
        """Fingerprint of the plan, its content included."""
        content = asdict(self)
        if not self.cutting:  # a plan for next tokens is named as before there were others
            del content["cutting"], content["frame"]
        if not self.parts:
            del content["parts"]
        return fingerprint.of_json(content)


class Plan:
    """An opened plan: the pieces of any row. Costs O(1) to open for any size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.summary = Summary(**json.loads((path / "plan.json").read_bytes()))
        pieces, rows = path / "pieces.bin", path / "rows.bin"
        sizes = [pieces.stat().st_size, rows.stat().st_size]
        if sizes != [self.summary.pieces * PIECE.itemsize, (self.summary.rows + 1) * ROW.itemsize]:
            raise ValueError(f"{path}: damaged")
        self._pieces = np.memmap(pieces, PIECE, "r") if sizes[0] else np.zeros(0, PIECE)
        self._rows = np.memmap(rows, ROW, "r")

    def row(self, number: int) -> list[tuple[int, int]]:
        """Start and length of each piece of a row."""
        first, stop = self._rows[number : number + 2].tolist()
        found: list[tuple[int, int]] = self._pieces[first:stop].tolist()
        return found

    def pieces(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """The pieces of PIECE with these `numbers` (n,), counted over all rows."""
        return np.asarray(self._pieces)[numbers]


def open_plan(
    dataset: Dataset, sequence_length: int, places: list[Path], report: Report, cutting: Cutting | None = None
) -> Plan:
    """The plan for rows of `sequence_length`, from one of `places` or made in the first that can be written; its pieces
    are those of `cutting`, without one the inputs of a causal model.

    Processes that ask at once wait for the first; the plan is the same wherever it is made. `report` hears at the
    start and now and then what share is done. `UserError` when no place takes files or a row holds no piece; OSError
    (disk full) leaves nothing behind.
    """
    cutting = cutting or NextTokens()
    if sequence_length <= cutting.frame:
        raise UserError(f"max_seq_len {sequence_length} leaves no room for text between [CLS] and [SEP]; give more")
    made_for: dict[str, Any] = {
        "version": VERSION,
        "dataset": dataset.identity,
        "split": dataset.split,
        "sequence_length": sequence_length,
        "terminator": dataset.terminator_length,
    }
    if cutting.name:
        made_for["cutting"] = _described(cutting)
    key = fingerprint.short(fingerprint.of_json(made_for), 16)
    for place in places:
        if (plan := _existing(place / key)) is not None:
            return plan
    place = first_writable(places)
    with DirectoryLock(place / f"{key}.lock", "packing", wait=True):
        if (plan := _existing(place / key)) is not None:
            return plan
        atomic.recover_directory(place / key)
        for left in place.glob(f"{atomic.TEMPORARY_PREFIX}{key}-*"):  # of a process that died: we hold its lock
            shutil.rmtree(left)
        _make(dataset, sequence_length, cutting, place, key, report)
        return Plan(place / key)


def _described(cutting: Cutting) -> dict[str, Any]:
    return {"name": cutting.name, **cutting.settings()} if cutting.name else {}


def _existing(path: Path) -> Plan | None:
    """The plan at `path`, if it is whole; a damaged one is made again."""
    try:
        return Plan(path)
    except (OSError, ValueError, TypeError):
        return None


def _make(dataset: Dataset, length: int, cutting: Cutting, place: Path, key: str, report: Report) -> None:
    report(0.0)
    temporary = atomic.temporary_directory(place, key)
    try:
        with atomic.naming(place / key):
            summary = _write(dataset, length, cutting, temporary, report)
            failpoint("plan.written", place / key)
            (temporary / "plan.json").write_text(json.dumps(asdict(summary), indent=1) + "\n")
            atomic.replace_directory(temporary, place / key)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if place.parent == dataset.path and not dataset.parts:
        _remove_outdated(dataset, place)


def _remove_outdated(dataset: Dataset, place: Path) -> None:
    """Remove the plans in the dataset's own directory that were made for what it was before. Locks stay: somebody may
    wait for one."""
    for path in place.iterdir():
        plan = None if path.name.startswith(atomic.TEMPORARY_PREFIX) else _existing(path)
        if plan is not None and dataset.identity not in (plan.summary.dataset, *plan.summary.parts):
            shutil.rmtree(path)


def _write(dataset: Dataset, length: int, cutting: Cutting, directory: Path, report: Report) -> Summary:
    """Pack every document of `dataset` into rows; memory does not grow with their number."""
    rows = pieces = tokens = cut = 0
    room, spoken = length - cutting.frame, time.monotonic()
    with _Hashed(directory / "pieces.bin") as piece_file, _Hashed(directory / "rows.bin") as row_file:
        for starts, lengths, done, shortened in cutting.portions(dataset, room):
            cut += shortened + int(np.count_nonzero(lengths > room))
            tokens += int(lengths.sum())
            for some in _groups(lengths, room):
                packed, sizes = fill_rows(starts[some], lengths[some], length, cutting.frame, cutting.smallest)
                piece_file.write(packed)
                row_file.write(np.cumsum(sizes, dtype=ROW) - sizes + pieces)
                rows, pieces = rows + len(sizes), pieces + len(packed)
            if time.monotonic() - spoken > REPORT_SECONDS:
                spoken = time.monotonic()
                report(done)
        row_file.write(np.array([pieces], ROW))
    if not rows:
        raise UserError(cutting.nothing(dataset))
    return Summary(
        VERSION,
        dataset.identity,
        dataset.split,
        length,
        dataset.terminator_length,
        rows,
        pieces,
        tokens,
        cut,
        {"pieces.bin": piece_file.digest, "rows.bin": row_file.digest},
        _described(cutting),
        cutting.frame,
        dataset.parts,
    )


def _groups(lengths: npt.NDArray[np.int64], room: int) -> Iterator[npt.NDArray[np.int64]]:
    """The numbers of the pieces, in groups that fill about ROWS_AT_ONCE rows at most."""
    group = np.cumsum(lengths // room) // ROWS_AT_ONCE
    yield from (some for some in np.split(np.arange(len(group)), np.flatnonzero(np.diff(group)) + 1) if len(some))


class _Hashed:
    """A file being written, with the SHA-256 of its content; `digest` once it is closed."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._hash = hashlib.sha256()
        self.digest = ""

    def write(self, values: npt.NDArray[np.generic]) -> None:
        data = np.ascontiguousarray(values).view(np.uint8).data
        self._hash.update(data)
        self._file.write(data)

    def __enter__(self) -> _Hashed:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self.digest = self._hash.hexdigest()
