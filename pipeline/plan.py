"""Plan: fingerprint the inputs and cut them into tasks. A task is a piece of input, never a worker's share."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from foundation import fingerprint
from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.sources.base import ReadOptions
from pipeline.sources.blocks import LineReader
from pipeline.sources.registry import InputFile, source_for

_PROBES = 16
_PROBE_BYTES = 4096


@dataclass(frozen=True)
class Task:
    """Bytes [start, end) of one input file. `max_records` stops earlier (None: read all)."""

    source: int
    path: Path
    start: int
    end: int
    size: int
    mtime_ns: int
    quick: str
    max_records: int | None = None

    @property
    def key(self) -> str:
        """Name of the task's part: from the file's identity and the range, not from its place among the inputs."""
        value = asdict(self)
        del value["source"], value["path"]
        return fingerprint.of_json(value)[:32]

    @property
    def length(self) -> int:
        """Bytes of the range."""
        return self.end - self.start

    @property
    def label(self) -> str:
        """The input range, for messages."""
        return f"{self.path} bytes {self.start}-{self.end}"

    def reader(self, config: PipelineConfig) -> LineReader:
        """A reader of this task's lines."""
        return LineReader(
            self.path, self.start, self.end, self.size, self.mtime_ns, config.max_record_bytes, config.block_bytes
        )


def read_options(config: PipelineConfig) -> ReadOptions:
    """The part of the configuration that sources read."""
    return ReadOptions(config.text_field, config.label_field, config.max_record_bytes)


def make_plan(inputs: list[InputFile], config: PipelineConfig) -> list[Task]:
    """All tasks in input order. Raises `UserError` when a file cannot be read."""
    tasks: list[Task] = []
    for number, file in enumerate(inputs):
        tasks.extend(_cut(number, file.path, config))
    return tasks if config.max_samples is None else _first_records(tasks, config, config.max_samples)


def _cut(number: int, path: Path, config: PipelineConfig) -> list[Task]:
    try:
        status = path.stat()
        quick = _quick_fingerprint(path, status.st_size)
    except PermissionError:
        raise UserError(f"{path}: no permission to read this file") from None
    whole = path.suffix == ".gz" or not source_for(path, config).splittable
    step = max(1, status.st_size) if whole else config.block_bytes
    starts = range(0, status.st_size, step)
    return [
        Task(number, path, start, min(start + step, status.st_size), status.st_size, status.st_mtime_ns, quick)
        for start in starts
    ]


def _quick_fingerprint(path: Path, size: int) -> str:
    """SHA-256 over a few evenly spaced pieces: enough, with size and time, to notice another file of the same name."""
    digest = hashlib.sha256(str(size).encode())
    last = max(0, size - _PROBE_BYTES)
    with path.open("rb") as file:
        for probe in range(_PROBES):
            file.seek(last * probe // (_PROBES - 1))
            digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()[:32]


def _first_records(tasks: list[Task], config: PipelineConfig, limit: int) -> list[Task]:
    """The tasks that hold the first `limit` records; the last one is told where to stop."""
    options, chosen = read_options(config), []
    for task in tasks:
        count = 0
        lines = task.reader(config)
        for batch in source_for(task.path, config).batches(lines, options):
            count += len(batch.documents) + len(batch.bad)
            if count >= limit:
                lines.stop()
        if count >= limit:
            chosen.append(replace(task, max_records=limit))
            return chosen
        chosen.append(task)
        limit -= count
    return chosen
