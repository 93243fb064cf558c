"""JSON Lines: one object a line (https://jsonlines.org), the text in a field."""

from __future__ import annotations

import os
from collections.abc import Iterator

import orjson

from pipeline.sources.base import LARGEST_LABEL, Batch, InputOptions, Limits
from pipeline.sources.blocks import LineReader
from pipeline.sources.line_splitter import Line, LineRun
from pipeline.sources.lines import LineSource
from pipeline.sources.records import Collector, Extractor, Unreadable, extract_json


class JsonLinesSource(LineSource):
    """Blank lines are no records; everything else is a document or a bad record."""

    splittable = True

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """See `LineSource.batches`."""
        extractor = Extractor(options)
        for run in lines.runs():
            yield _whole(run, options, extractor) or self.batch(run.each(), options, extractor)

    def batch(self, group: list[Line], options: InputOptions, extractor: Extractor) -> Batch:
        """The documents of some lines. Most hold a text and maybe a small number; all others go the thorough way."""
        collector, loads = Collector(), orjson.loads
        text_field, label_field, plain = options.text_field, options.label_field, extractor.plain
        batch = collector.batch
        texts, offsets, numbers, labels = batch.texts, batch.offsets, batch.lines, batch.labels
        no_label, label_end = options.label, _label_end(options)
        for line in group:
            offset, number, data, size = line
            try:
                record = loads(data)
                text = record[text_field]
                label = record.get(label_field, no_label)
                if not plain or type(text) is not str or size > len(data):
                    raise TypeError
                if label is not no_label and not (type(label) is int and 0 <= label < label_end):
                    raise TypeError
            except (ValueError, LookupError, TypeError, AttributeError):
                _thorough(line, extractor, collector)
                continue
            texts.append(text.encode())
            offsets.append(offset)
            numbers.append(number)
            labels.append(label)
        return collector.take()


def _label_end(options: InputOptions) -> int:
    return len(options.labels) or LARGEST_LABEL + 1


_MARK = int.from_bytes(os.urandom(7)) | 1 << 55
"""A number that no input can know. It stands between the lines where they are parsed together."""
_BETWEEN = b",%d," % _MARK


def _whole(run: LineRun, options: InputOptions, extractor: Extractor) -> Batch | None:
    """The documents of a run whose every line is in the common form, parsed as one JSON array: a fifth of the time.
    None when any line is not, or when the array could hide what a line is.

    That every second element is the mark, and none is missing, says that each line is one JSON value: a line that
    opens what another one closes would take a mark into it, and no line can make up for that without knowing the mark.
    """
    if run.blank:  # an archive of a megabyte can hold a billion of empty ones
        return Batch()
    if not extractor.plain or run.sizes:
        return None
    try:
        values = orjson.loads(b"[" + run.joined(_BETWEEN) + b"]")
        texts = [record[options.text_field] for record in values[::2]]
        labels = [record.get(options.label_field, options.label) for record in values[::2]]
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    marks = values[1::2]
    offsets = run.offsets()
    if len(values) != 2 * len(offsets) - 1 or marks.count(_MARK) != len(marks) or set(map(type, texts)) != {str}:
        return None
    if set(map(type, labels)) != {int} or max(labels) >= _label_end(options):
        return None
    if min(labels) < 0 and any(label < 0 and label != options.label for label in labels):
        return None
    numbers = list(range(run.number, run.number + len(texts)))
    return Batch(list(map(str.encode, texts)), offsets, numbers, labels)


def _thorough(line: Line, extractor: Extractor, collector: Collector) -> None:
    """A line that is blank, bad, or not in the common form."""
    offset, number, data, size = line
    if size == len(data) and not data.strip():
        return
    try:
        collector.add(extract_json(data, size, "line", extractor), offset, number)
    except Unreadable as fault:
        collector.refuse(fault, offset, number, size, data)
