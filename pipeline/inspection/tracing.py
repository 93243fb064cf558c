"""From a document back to its source: single records of an input, and the lines they begin in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from foundation import fingerprint
from pipeline.config import PipelineConfig
from pipeline.plan import limits, make_plan
from pipeline.sources.base import Batch, InputFile, Task
from pipeline.sources.blocks import ByteReader
from pipeline.sources.registry import source_for


@dataclass(frozen=True)
class Record:
    """One record as its source gives it."""

    text: bytes
    label: int
    batch: Batch  # of this record alone


class SourceReader:
    """Reads single records of one input."""

    def __init__(self, file: InputFile, config: PipelineConfig) -> None:
        self.file, self._config = file, config
        whole = config.model_copy(update={"max_samples": None})
        self._tasks = make_plan([file], whole)
        size = self._tasks[0].identity.size if self._tasks else 0
        self._bytes = source_for(file.path, file.options).pieces == "bytes" and not file.options.compression
        # A line or paragraph belongs to the range it begins in and is read to its end, so a range of one byte is enough
        # where the file can be cut at all.
        halves = make_plan([file], whole.model_copy(update={"block_bytes": max(64, size // 2 + 1)}))
        self._one_by_one = file.options.format in ("jsonl", "text") and self._bytes and len(halves) > 1

    def records(self, offsets: Sequence[int]) -> Iterator[tuple[int, Record | None]]:
        """The record at each of `offsets` (increasing), None where none begins there or it cannot be read."""
        if self._one_by_one:
            for offset in offsets:
                if not 0 <= offset < self._tasks[0].identity.size:
                    yield offset, None
                    continue
                task = replace(self._tasks[0], start=offset, end=offset + 1, bytes=1)
                yield offset, next((record for at, record in self._read(task) if at == offset), None)
            return
        wanted, found = iter(offsets), next(iter(offsets), None)
        next(wanted, None)
        for task in self._tasks:
            if found is None:
                return
            if self._bytes and task.end <= found:
                continue
            for at, record in self._read(task):
                while found is not None and at > found:
                    yield found, None
                    found = next(wanted, None)
                if at == found:
                    yield found, record
                    found = next(wanted, None)
                if found is None:
                    break
        while found is not None:
            yield found, None
            found = next(wanted, None)

    def _read(self, task: Task) -> Iterator[tuple[int, Record]]:
        reading = source_for(task.path, task.options).open(task, limits(self._config))
        for batch in reading:
            for place, offset in enumerate(batch.offsets):
                yield offset, Record(batch.texts[place], batch.labels[place], _single(batch, place))

    def fingerprint(self) -> str:
        """The input's fingerprint as a manifest has it (`InputEntry.fingerprint`). Reads all of it."""
        digests: list[str] = []
        for task in self._tasks:
            reading = source_for(task.path, task.options).open(task, limits(self._config))
            for _ in reading:
                if self._bytes or task.options.compression:
                    reading.stop()
            digests += reading.digests
        return fingerprint.of_bytes("".join(digests).encode())

    def line_at(self, offset: int) -> tuple[bytes, int] | None:
        """The line that begins at byte `offset` of the (decompressed) file, without its end, and its number from 1.

        None where the records of the format are not found by bytes. Reads what stands before it, to count.
        """
        if not self._tasks or source_for(self.file.path, self.file.options).pieces != "bytes":
            return None
        first = self._tasks[0]
        reader = ByteReader(replace(first, start=0, end=first.identity.size), limits(self._config))
        position = newlines = 0
        line: list[bytes] = []
        for chunk in reader.chunks():
            inside = chunk[max(0, offset - position) :]
            newlines += chunk.count(b"\n", 0, len(chunk) - len(inside))
            position += len(chunk)
            data, end, _ = inside.partition(b"\n")
            line.append(data)
            if end or sum(map(len, line)) > self._config.max_record_bytes:
                break
        return (b"".join(line), newlines + 1) if position > offset else None


def _single(batch: Batch, place: int) -> Batch:
    one = slice(place, place + 1)
    conversations = None if batch.conversations is None else batch.conversations[one]
    return replace(
        batch, texts=batch.texts[one], offsets=batch.offsets[one], lines=batch.lines[one], labels=batch.labels[one],
        bad=[], conversations=conversations,
    )  # fmt: skip
