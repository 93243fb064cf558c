"""Parquet files: row groups are the pieces, only the needed columns are read, a megabyte at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pipeline.sources import files
from pipeline.sources.base import Identity, InputFile, Limits, Piece, Reading, Task
from pipeline.sources.columns import ColumnReading
from pipeline.sources.errors import ErrorKeeper
from pipeline.sources.row_sizes import BATCH_BYTES

_MOST_ROWS, _MOST_TEXTS = 65536, 64
"""Rows that are read at a time: of numbers, and of texts, which a dictionary may repeat at no cost."""
_MOST_BYTES = 64 << 20
"""What as many copies of the longest text that a dictionary may hold come to."""
_BUFFER = {False: 1 << 20, True: 8 << 20}
"""Bytes of a column that are read at a time, of a local and of a remote file."""


class ParquetSource:
    """Row groups side by side make one piece until they reach `block_bytes`."""

    pieces = "row groups"

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`. Reads the footer only. A damaged file is one piece and one bad record."""
        sizes = _row_groups(file.path, identity)
        if sizes is None:
            return [Piece(0, 0, identity.size, 1)] if identity.size else []
        pieces: list[Piece] = []
        first = size = rows = 0
        for number, (group_rows, group_bytes) in enumerate(sizes):
            rows, size = rows + group_rows, size + group_bytes
            if size >= limits.block_bytes or number == len(sizes) - 1:
                pieces.append(Piece(first, number + 1, size, rows))
                first, size, rows = number + 1, 0, 0
        return pieces

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        return _ParquetReading(task, limits)


def _parquet(raw: Any, remote: bool, metadata: Any) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(raw, metadata=metadata, buffer_size=_BUFFER[remote], pre_buffer=False)


@lru_cache(maxsize=256)
def _metadata(path: str, identity: Identity) -> Any:
    """The footer; None when the file is damaged or something else."""
    import pyarrow as pa

    with files.opened(path, identity, sequential=False) as raw:
        keeper = ErrorKeeper(raw)
        try:
            return _parquet(keeper, files.is_url(path), None).metadata
        except MemoryError:  # pyarrow's is an ArrowException, too
            raise
        except (pa.ArrowException, OSError):
            if keeper.error is not None:
                raise keeper.error from None
            return None


@lru_cache(maxsize=4096)
def _row_groups(path: str, identity: Identity) -> list[tuple[int, int]] | None:
    """Rows and compressed bytes of every row group."""
    metadata = _metadata(path, identity)
    if metadata is None:
        return None
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [(group.num_rows, _compressed(group)) for group in groups]


def _compressed(group: Any) -> int:
    return sum(int(group.column(number).total_compressed_size) for number in range(group.num_columns))


class _ParquetReading(ColumnReading):
    """A `Reading` of row groups."""

    def _groups(self) -> list[tuple[int, int]]:
        return _row_groups(self.task.path, self.task.identity) or []

    def rows(self) -> int:
        """See `ColumnReading.rows`."""
        return sum(rows for rows, _ in self._groups()[self.task.start : self.task.end])

    def record_batches(self, raw: Any) -> Iterator[tuple[int, Any]]:
        """See `ColumnReading.record_batches`."""
        first = sum(rows for rows, _ in self._groups()[: self.task.start])
        metadata = _metadata(self.task.path, self.task.identity)
        parquet = _parquet(raw, files.is_url(self.task.path), metadata)
        self.names = parquet.schema_arrow.names
        columns = [name for name in self.names if name in self.extractor.fields]
        for number in range(self.task.start, self.task.end):
            rows = _rows_at_once(metadata.row_group(number), parquet.schema_arrow, columns)
            for batch in parquet.iter_batches(rows, row_groups=[number], columns=columns, use_threads=False):
                yield first, batch
                first += batch.num_rows


def _rows_at_once(group: Any, schema: Any, columns: list[str]) -> int:
    """Rows to read at a time: about BATCH_BYTES as they are stored, few where repeats of a text may be large."""
    import pyarrow as pa

    size, rows = 0, _MOST_ROWS
    for number in range(group.num_columns):
        chunk = group.column(number)
        name = next((name for name in columns if f"{chunk.path_in_schema}.".startswith(f"{name}.")), None)
        if name is None:
            continue
        size += int(chunk.total_uncompressed_size)
        if chunk.physical_type == "BYTE_ARRAY" and not pa.types.is_dictionary(schema.field(name).type):
            repeated = _dictionary_bytes(chunk) * -(-int(chunk.num_values) // max(1, int(group.num_rows)))
            rows = min(rows, _MOST_TEXTS, _MOST_BYTES // max(1, repeated))
    return max(1, min(rows, BATCH_BYTES * int(group.num_rows) // max(1, size)))


def _dictionary_bytes(chunk: Any) -> int:
    """What a column's dictionary comes to, by its share of the compressed bytes; 0 for none, or where only its pages
    tell (old writers, which stop at a megabyte)."""
    if not chunk.has_dictionary_page:
        return 0
    stored = max(0, int(chunk.data_page_offset) - int(chunk.dictionary_page_offset))
    return int(chunk.total_uncompressed_size) * stored // max(1, stored, int(chunk.total_compressed_size))
