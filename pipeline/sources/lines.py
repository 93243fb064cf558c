"""What the sources that read lines have in common: cutting plain files into blocks, and the reading of a task."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.sources.base import Batch, Identity, InputFile, InputOptions, Limits, Piece, Reading, Task
from pipeline.sources.blocks import LineReader


class LineSource:
    """Base of the sources that turn lines into documents. `splittable`: every line is a record of its own, so that a
    plain file can be cut at any line."""

    splittable = False

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """Documents and bad records, in order, about a megabyte at a time."""
        raise NotImplementedError

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`. An archive is one piece."""
        whole = file.path.endswith(".gz") or not self.splittable
        step = max(1, identity.size) if whole else limits.block_bytes
        starts = range(0, identity.size, step)
        ends = [min(start + step, identity.size) for start in starts]
        return [Piece(start, end, end - start) for start, end in zip(starts, ends, strict=True)]

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
