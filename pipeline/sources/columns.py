"""From Arrow columns to batches: what Parquet files and Arrow directories have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from pipeline.sources import files
from pipeline.sources.base import KEPT_OF_OVERSIZE, BadRecord, Batch, Limits, Task
from pipeline.sources.errors import ErrorKeeper
from pipeline.sources.records import Collector, Extractor, Unreadable
from pipeline.sources.row_sizes import evenly


class ColumnReading:
    """A `Reading` of rows. Subclasses give the piece's record batches, with only the columns that are needed.

    The digest is over what was extracted: the rows of a piece are the same whatever else the file holds.
    """

    sequential = False
    """Whether the file is read from front to back."""

    def __init__(self, task: Task, limits: Limits) -> None:
        self.task = task
        self.limit = limits.max_record_bytes
        self.position = self.newlines = 0
        self.digests: list[str] = []
        self.damage: str | None = None
        self.extractor = Extractor(task.options)
        self.names: list[str] = []  # of all columns of the file
        self._stopped = False

    def stop(self) -> None:
        """Enough was read."""
        self._stopped = True

    def record_batches(self, raw: Any) -> Iterator[tuple[int, Any]]:
        """Pairs of the first row's number in the file and a pyarrow.RecordBatch of as many rows as come at once."""
        raise NotImplementedError

    def rows(self) -> int | None:
        """Rows of the piece, where that is known."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        digest, done = hashlib.sha256(), 0
        for first, table in evenly(self._read()):
            total = self.rows()
            batch = self._batch(table, first, done)
            _update(digest, batch)
            done += table.num_rows
            self.newlines = done
            self.position = self.task.bytes * done // total if total else 0
            yield batch
            if self._stopped:
                self.newlines = total or done
                break
        if self.damage and not done:
            yield self._damaged(digest)
        self.digests = [digest.hexdigest()]

    def _read(self) -> Iterator[tuple[int, Any]]:
        """The record batches, up to damage in the file."""
        import pyarrow as pa

        with files.opened(self.task.path, self.task.identity, self.sequential) as raw:
            keeper = ErrorKeeper(raw)
            try:
                yield from self.record_batches(keeper)
            except MemoryError:  # pyarrow's is an ArrowException, too
                raise
            except (pa.ArrowException, OSError) as error:
                if keeper.error is not None:
                    raise keeper.error from None
                self.damage = str(error)[:300]

    def _damaged(self, digest: Any) -> Batch:
        """The record that stands for a piece of which nothing could be read."""
        with files.opened(self.task.path, self.task.identity, sequential=False) as raw:
            head = raw.read(KEPT_OF_OVERSIZE) or b""
        bad = BadRecord(self.task.start, 0, max(self.task.bytes, len(head)), "damaged_file", self.damage or "", head)
        batch = Batch(bad=[bad])
        _update(digest, batch)
        return batch

    def _batch(self, table: Any, first: int, done: int) -> Batch:
        names = table.schema.names
        collector = Collector()
        texts = labels = None
        if self.extractor.plain and self.task.options.text_field in names:
            texts = _text_column(table.column(self.task.options.text_field))
            labels = self._label_column(table)
        if texts is None or labels is None or (texts and max(map(len, texts)) > self.limit):
            self._rows(table, first, done, collector)
        else:
            batch = collector.batch
            batch.texts, batch.labels = texts, labels
            batch.offsets, batch.lines = list(range(first, first + len(texts))), list(range(done, done + len(texts)))
        return collector.take()

    def _label_column(self, table: Any) -> list[int] | None:
        """All labels when the column is of small integers without nulls, or absent; else None."""
        import pyarrow as pa

        name, options = self.task.options.label_field, self.task.options
        if name is None or name not in table.schema.names:
            return [options.label] * table.num_rows
        column = table.column(name)
        if not pa.types.is_integer(column.type) or column.null_count:
            return None
        values = column.to_numpy(zero_copy_only=False)
        end = len(options.labels) or 2**31
        if len(values) and not (int(values.min()) >= -1 and int(values.max()) < end):
            return None
        return values.tolist()  # type: ignore[no-any-return]

    def _rows(self, table: Any, first: int, done: int, collector: Collector) -> None:
        """Row by row: templates, conversations, nulls and whatever is wrong."""
        for place, (record, wrong) in enumerate(_records(table)):
            try:
                if wrong:
                    raise wrong
                document = self.extractor.extract(record)
                if len(document.text) > self.limit:
                    detail = f"{len(document.text)} bytes exceed max_record_bytes; kept the first {KEPT_OF_OVERSIZE}"
                    raise Unreadable("record_too_large", detail)
                collector.add(document, first + place, done + place)
            except Unreadable as fault:
                if fault.reason.startswith("missing_"):
                    fault = Unreadable(fault.reason, f"{fault.detail}; the file has {', '.join(self.names)[:1000]}")
                raw = orjson.dumps(record, default=repr, option=orjson.OPT_NON_STR_KEYS)
                size = len(raw)
                collector.refuse(fault, first + place, done + place, size, _kept(raw, size, self.limit))


def _kept(raw: bytes, size: int, limit: int) -> bytes:
    return raw if size <= limit else raw[:KEPT_OF_OVERSIZE]


def _text_column(column: Any) -> list[bytes] | None:
    """A column of text as UTF-8; None when it is none, has nulls or is not valid UTF-8."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if column.null_count or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return column.cast(pa.binary() if pa.types.is_string(kind) else pa.large_binary()).to_pylist()  # type: ignore[no-any-return]


def _records(table: Any) -> Iterator[tuple[dict[str, Any], Unreadable | None]]:
    """The rows as dictionaries, and what is wrong with them. A text that is not UTF-8 stays `bytes`; one inside of a
    column of lists or structs stands, as `bytes`, for all that the row has there."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    faults: dict[int, Unreadable] = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            columns[name] = [_decoded(value) for value in column.cast(pa.binary()).to_pylist()]
        elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            columns[name] = [_decoded(value) for value in column.cast(pa.large_binary()).to_pylist()]
        else:
            columns[name] = _values(name, column, faults)
    for place in range(table.num_rows):
        yield {name: values[place] for name, values in columns.items()}, faults.get(place)


def _values(name: str, column: Any, faults: dict[int, Unreadable]) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        values: list[Any] = []
    for place, value in enumerate(column):
        try:
            values.append(value.as_py())
        except UnicodeDecodeError as error:
            faults[place] = Unreadable("invalid_utf8", f"field {name!r}: {error}")
            values.append(error.object)
    return values


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _update(digest: Any, batch: Batch) -> None:
    digest.update(np.array([len(text) for text in batch.texts], "<i8").tobytes())
    digest.update(np.array(batch.labels, "<i8").tobytes())
    digest.update(b"".join(batch.texts))
    for bad in batch.bad:
        digest.update(f"{bad.offset}:{bad.size}:{bad.reason}".encode() + bad.raw)


def class_names(info: dict[str, Any], field: str | None) -> tuple[str, ...]:
    """The names of the classes that a dataset's description (dataset_info.json, a hub card) gives to a label field."""
    features = info.get("features")
    if isinstance(features, list):  # as in a card: a list of named features
        features = {str(f.get("name")): f.get("dtype") for f in features if isinstance(f, dict)}
    feature = features.get(field) if isinstance(features, dict) else None
    if not isinstance(feature, dict):
        return ()
    names = (
        feature.get("names")
        if feature.get("_type") == "ClassLabel"
        else (feature.get("class_label") or {}).get("names")
    )
    if isinstance(names, dict):  # {"0": "neg", "1": "pos"}
        names = [names[key] for key in sorted(names, key=int)]
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
