"""Clean a JSON Lines file into another one: every readable record with its text cleaned, the others beside it."""

from __future__ import annotations

import base64
import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from tqdm import tqdm

from foundation import atomic
from foundation.errors import UserError
from pipeline.cleaning.cleaner import Cleaner
from pipeline.config import PipelineConfig
from pipeline.plan import limits, make_plan
from pipeline.sources.base import BadRecord, Batch, InputOptions
from pipeline.sources.blocks import LineReader
from pipeline.sources.find import find_inputs
from pipeline.sources.jsonl import JsonLinesSource
from pipeline.sources.line_splitter import Line
from pipeline.sources.records import Extractor
from pipeline.workspace.parts import RAW_BYTES_KEPT

EMPTY = "empty"
_EXACT = {str, int, bool, type(None)}
"""Types of values that are written as they were read. Integers from 2^64 on are read as floats."""
_MARKS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}:,]')
"""What an object's structure is seen from: strings, which may hold the signs, and the signs."""


@dataclass
class Checked:
    """What became of the records of a file."""

    valid: int = 0
    invalid: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Invalid records by reason."""
    quarantine: Path | None = None
    """The file that lists the invalid ones; None when there are none."""

    def refuse(self, reason: str) -> None:
        """Count an invalid record."""
        self.invalid += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


def clean_jsonl(source: Path, target: Path, config: PipelineConfig) -> Checked:
    """Write the valid records of the JSON Lines file `source` to `target` (.gz compresses), their text cleaned as
    `config` says, all other fields as they are; chat records get the field `messages`.

    What cannot be read, or is empty when it is cleaned, is listed in NAME.quarantine.jsonl beside `target`, with
    offset, line, reason and raw bytes. Both files appear whole or not at all. Raises `UserError` when `target` exists.
    """
    quarantine = target.with_name(target.name.removesuffix(".gz").removesuffix(".jsonl") + ".quarantine.jsonl")
    for path in (target, quarantine):
        if path.exists():
            raise UserError(f"{path}: is already there; choose another output path or remove it first")
    files = find_inputs(config.model_copy(update={"input": [str(source)]}))
    if len(files) != 1 or files[0].options.format != "jsonl":
        raise UserError(f"{source}: give one JSON Lines file; `process_dataset` reads the other formats as they are")
    checked = Checked()
    with (
        atomic.atomic_path(quarantine) as bad_path,
        atomic.atomic_path(target) as good_path,
        good_path.open("wb") as good,
        bad_path.open("wb") as bad,
    ):
        out: BinaryIO = gzip.GzipFile(fileobj=good, mode="wb", mtime=0) if target.suffix == ".gz" else good  # type: ignore[assignment]
        for records, refused in _batches(files[0], config, checked):
            out.writelines(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)
            bad.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in refused)
        if out is not good:
            out.close()
    if checked.invalid:
        checked.quarantine = quarantine
    else:
        os.unlink(quarantine)
    return checked


def _batches(file: Any, config: PipelineConfig, checked: Checked) -> Iterator[tuple[list[Any], list[Any]]]:
    cleaner, extractor, source = Cleaner(config), Extractor(file.options), JsonLinesSource()
    plan = make_plan([file], config)
    with tqdm(total=sum(task.bytes for task in plan), unit="B", unit_scale=True, desc="validate") as bar:
        newlines = 0
        for task in plan:
            reader, done = LineReader(task, limits(config)), 0
            for group in reader.groups():
                batch = source.batch(group, file.options, extractor)
                yield _cleaned(batch, group, newlines, cleaner, file.options, checked)
                bar.update(reader.position - done)
                done = reader.position
            newlines += reader.newlines
            if reader.damage:
                raise UserError(f"{file.path}: damaged ({reader.damage}); nothing was written")


def _cleaned(
    batch: Batch, group: list[Line], newlines: int, cleaner: Cleaner, options: InputOptions, checked: Checked
) -> tuple[list[Any], list[Any]]:
    """The records to write and the rows of those that were refused."""
    raw = {line.offset: line for line in group}
    texts = cleaner.clean(batch.texts)
    conversations = batch.conversations or [() for _ in texts]
    records, refused = [], list(batch.bad)
    for text, offset, conversation in zip(texts, batch.offsets, conversations, strict=True):
        if not text:
            line = raw[offset]
            refused.append(BadRecord(offset, line.number, line.size, EMPTY, "no text is left of it", line.data))
            continue
        record = orjson.loads(raw[offset].data)
        if not set(map(type, record.values())) <= _EXACT:
            record = _fields(raw[offset].data)
        if conversation:
            contents = cleaner.clean([content for _, content in conversation])
            record.pop("conversations", None)
            record["messages"] = [
                {"role": role, "content": content.decode()}
                for (role, _), content in zip(conversation, contents, strict=True)
            ]
        else:
            record[options.text_field] = text.decode()
        records.append(record)
    checked.valid += len(records)
    for bad in refused:
        checked.refuse(bad.reason)
    return records, [_row(bad, newlines) for bad in sorted(refused, key=lambda bad: bad.offset)]


def _fields(line: bytes) -> dict[str, Any]:
    """The fields of a JSON object that was parsed before, each value as it is written: numbers may have more digits
    than floats have, and values may lie deeper than orjson writes."""
    fields: dict[str, Any] = {}
    name, start, depth = "", 0, 0
    for mark in _MARKS.finditer(line):
        sign, end = line[mark.start()], mark.start()
        depth += (sign in b"{[") - (sign in b"}]")
        if sign == ord("{") and depth == 1:
            start = mark.end()
        elif sign == ord(":") and depth == 1:
            name, start = orjson.loads(line[start:end]), mark.end()
        elif (sign == ord(",") and depth == 1) or depth == 0:
            fields[name], start = orjson.Fragment(line[start:end].strip()), mark.end()
    return fields


def _row(bad: BadRecord, newlines: int) -> dict[str, Any]:
    raw = bad.raw[:RAW_BYTES_KEPT]
    return {
        "offset": bad.offset, "line": newlines + bad.line + 1, "bytes": bad.size, "reason": bad.reason,
        "detail": bad.detail, "raw_base64": base64.b64encode(raw).decode(), "raw_complete": len(raw) == bad.size,
    }  # fmt: skip
