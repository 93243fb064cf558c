"""JSON Lines: one object a line (https://jsonlines.org), the text in a field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.sources.base import BadRecord, Batch, InputOptions, Limits, common_fault
from pipeline.sources.blocks import Line, LineReader
from pipeline.sources.lines import LineSource
from shards.documents import NO_LABEL

_LARGEST_LABEL = 2**31 - 1


class JsonLinesSource(LineSource):
    """Blank lines are no records; everything else is a document or a bad record."""

    splittable = True

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """See `LineSource.batches`."""
        for group in lines.groups():
            yield self._batch(group, options)

    def _batch(self, group: list[Line], options: InputOptions) -> Batch:
        batch = Batch()
        loads = orjson.loads
        text_field, label_field = options.text_field, options.label_field
        for line in group:
            offset, number, data, size = line
            try:
                record = loads(data)
                text = record[text_field]
                if type(text) is not str or size > len(data):
                    raise TypeError
                label = record.get(label_field, NO_LABEL)
            except (ValueError, LookupError, TypeError):
                if not data.strip() and size == len(data):
                    continue
                batch.bad.append(_diagnose(line, text_field))
                continue
            batch.add(text.encode(), offset, number, label if _is_label(label) else NO_LABEL)
        return batch


def _is_label(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_LABEL


def _diagnose(line: Line, text_field: str) -> BadRecord:
    """Why a line gave no document. Slow and thorough: it runs for bad lines only."""
    reason, detail = _reason(line, text_field)
    return BadRecord(line.offset, line.number, line.size, reason, detail, line.data)


def _reason(line: Line, text_field: str) -> tuple[str, str]:
    if fault := common_fault(line.data, line.size, "line"):
        return fault
    try:
        line.data.decode()
    except UnicodeDecodeError as error:
        return "invalid_utf8", str(error)
    try:
        record = orjson.loads(line.data)
    except ValueError as error:
        return "invalid_json", str(error)
    if not isinstance(record, dict):
        return "not_an_object", f"the line holds a {type(record).__name__}"
    if text_field not in record:
        return "missing_text_field", f"no field {text_field!r}; the record has {', '.join(map(repr, record)) or 'none'}"
    return "text_not_a_string", f"field {text_field!r} holds a {type(record[text_field]).__name__}"
