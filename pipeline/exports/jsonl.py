"""Decoded text again: SPLIT.jsonl, one object a document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from pipeline.exports.base import Exported, document_runs, records_of, run_tokens
from shards.dataset import Shard
from shards.documents import NO_LABEL

_RUN_TOKENS = 1 << 18


def check(exported: Exported) -> None:
    """Every dataset can be decoded."""


def write(exported: Exported, directory: Path, progress: Callable[[int], object]) -> None:
    """Write SPLIT.jsonl with `text` (terminator stripped by position), `source`, and `label` where there is one."""
    for split, dataset in exported.splits.items():
        with (directory / f"{split}.jsonl").open("wb") as out:
            for shard in dataset.shards:
                for row in _rows(exported, shard, progress):
                    out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _rows(exported: Exported, shard: Shard, progress: Callable[[int], object]) -> Iterator[dict[str, Any]]:
    tokenizer, ending = exported.tokenizer, len(exported.manifest.terminator)
    records = records_of(shard)
    for first, last in document_runs(shard, _RUN_TOKENS):
        tokens = run_tokens(shard, first, last)
        position = 0
        for place in range(first, last):
            length = int(shard.lengths[place])
            text = tokenizer.decode(tokens[position : position + length - ending].tolist(), skip_special=False)
            position += length
            row: dict[str, Any] = {"text": text, "source": exported.source_names[int(records[place]["source"])]}
            if records[place]["label"] != NO_LABEL:
                row["label"] = int(records[place]["label"])
            yield row
        progress(len(tokens))
