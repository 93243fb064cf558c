"""Decoded text again: SPLIT.jsonl, one object a document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.exports.base import Exported, document_runs, records_of, run_tokens
from shards.dataset import Dataset
from shards.documents import NO_LABEL

_RUN_TOKENS = 1 << 18
_Tokens = npt.NDArray[np.generic]


def check(exported: Exported) -> None:
    """Every dataset can be decoded."""


def write(exported: Exported, directory: Path, progress: Callable[[int], object]) -> None:
    """Write SPLIT.jsonl with `text` (terminator stripped by position), `source`, and `label` where there is one.

    The pieces that `max_length` cut a document into are one object, as the document was.
    """
    for split, dataset in exported.splits.items():
        with (directory / f"{split}.jsonl").open("wb") as out:
            for record, tokens in _documents(exported, dataset, progress):
                text = exported.tokenizer.decode(tokens.tolist(), skip_special=False)
                row: dict[str, Any] = {"text": text, "source": exported.source_names[int(record["source"])]}
                if record["label"] != NO_LABEL:
                    row["label"] = int(record["label"])
                out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _documents(
    exported: Exported, dataset: Dataset, progress: Callable[[int], object]
) -> Iterator[tuple[np.void, _Tokens]]:
    """The record of each document and its tokens, of all its pieces: a cut may lie inside a character.

    A full piece goes on in the next one of its record (see `pipeline.publishing.pieces`), unless that begins the next
    copy of a document with a weight.
    """
    longest = exported.manifest.settings.get("max_length")
    full = None if longest is None else longest - len(exported.manifest.terminator)
    weights = [entry.options.get("weight", 1) for entry in exported.manifest.inputs]
    pieces: list[_Tokens] = []
    owner: np.void | None = None
    for record, piece in _pieces(exported, dataset, progress):
        if owner is not None:
            goes_on = len(pieces[-1]) == full and record == owner
            if not goes_on or (weights[int(record["source"])] > 1 and np.array_equal(pieces[0], piece)):
                yield owner, np.concatenate(pieces)
                pieces = []
        pieces.append(piece)
        owner = record
    if owner is not None:
        yield owner, np.concatenate(pieces)


def _pieces(
    exported: Exported, dataset: Dataset, progress: Callable[[int], object]
) -> Iterator[tuple[np.void, _Tokens]]:
    """The record and the tokens of everything in the split, without terminators."""
    ending = len(exported.manifest.terminator)
    for shard in dataset.shards:
        records = records_of(shard)
        for first, last in document_runs(shard, _RUN_TOKENS):
            tokens = run_tokens(shard, first, last)
            position = 0
            for place in range(first, last):
                length = int(shard.lengths[place])
                yield records[place], tokens[position : position + length - ending]
                position += length
            progress(len(tokens))
