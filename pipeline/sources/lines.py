"""What the sources that read bytes have in common: cutting plain files into blocks, and the reading of a task."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.sources.base import Batch, Identity, InputFile, InputOptions, Limits, Piece, Reading, Task
from pipeline.sources.blocks import LineReader


def cut(file: InputFile, identity: Identity, limits: Limits, splittable: bool) -> list[Piece]:
    """Pieces of `block_bytes` of a plain file; the whole of an archive, or of a file that cannot be cut."""
    whole = bool(file.options.compression) or not splittable
    step = max(1, identity.size) if whole else limits.block_bytes
    starts = range(0, identity.size, step)
    ends = [min(start + step, identity.size) for start in starts]
    return [Piece(start, end, end - start) for start, end in zip(starts, ends, strict=True)]


class LineSource:
    """Base of the sources that turn lines into documents. `splittable`: every line is a record of its own, so that a
    plain file can be cut at any line."""

    splittable = False
    pieces = "bytes"

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """Documents and bad records, in order, about a megabyte at a time."""
        raise NotImplementedError

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`. An archive is one piece."""
        return cut(file, identity, limits, self.splittable)

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        return _LineReading(self, task, limits)


class _LineReading(LineReader):
    """A `Reading` over lines."""

    def __init__(self, source: LineSource, task: Task, limits: Limits) -> None:
        super().__init__(task, limits)
        self._source, self._options, self._limits = source, task.options, limits

    def __iter__(self) -> Iterator[Batch]:
        return self._source.batches(self, self._options, self._limits)
