"""JSON Lines: one object a line (https://jsonlines.org), the text in a field."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pipeline.sources.base import Batch, InputOptions, Limits
from pipeline.sources.blocks import Line, LineReader
from pipeline.sources.lines import LineSource
from pipeline.sources.records import LARGEST_LABEL, Collector, Extractor, Unreadable, extract_json


class JsonLinesSource(LineSource):
    """Blank lines are no records; everything else is a document or a bad record."""

    splittable = True

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """See `LineSource.batches`."""
        extractor = Extractor(options)
        for group in lines.groups():
            yield self.batch(group, options, extractor)

    def batch(self, group: list[Line], options: InputOptions, extractor: Extractor) -> Batch:
        """The documents of some lines. Most hold a text and maybe a small number; all others go the thorough way."""
        collector, loads = Collector(), orjson.loads
        text_field, label_field, plain = options.text_field, options.label_field, extractor.plain
        batch = collector.batch
        texts, offsets, numbers, labels = batch.texts, batch.offsets, batch.lines, batch.labels
        no_label, label_end = options.label, len(options.labels) or LARGEST_LABEL + 1
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


def _thorough(line: Line, extractor: Extractor, collector: Collector) -> None:
    """A line that is blank, bad, or not in the common form."""
    offset, number, data, size = line
    if size == len(data) and not data.strip():
        return
    try:
        collector.add(extract_json(data, size, "line", extractor), offset, number)
    except Unreadable as fault:
        collector.refuse(fault, offset, number, size, data)
