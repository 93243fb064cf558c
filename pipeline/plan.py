"""Plan: fingerprint the inputs and cut them into tasks. A task is a piece of input, never a worker's share."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

from foundation import fingerprint
from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.sources.base import Identity, InputFile, Limits, Task
from pipeline.sources.registry import source_for

_PROBES = 16
_PROBE_BYTES = 4096


def limits(config: PipelineConfig) -> Limits:
    """The part of the configuration that bounds every reader."""
    return Limits(config.max_record_bytes, config.block_bytes)


def make_plan(inputs: list[InputFile], config: PipelineConfig) -> list[Task]:
    """All tasks in input order. Raises `UserError` when a file cannot be read."""
    tasks: list[Task] = []
    for number, file in enumerate(inputs):
        identity = identify(file.path)
        pieces = source_for(file.path, file.options).plan(file, identity, limits(config))
        tasks += [Task(number, file.path, p.start, p.end, p.bytes, identity, file.options) for p in pieces]
    return tasks if config.max_samples is None else _first_records(tasks, config, config.max_samples)


def plan_fingerprint(inputs: list[InputFile], tasks: list[Task]) -> str:
    """What a plan reads and what it calls it: a dataset made from an equal plan is up to date."""
    files = [[file.name, file.options.split, file.options.weight] for file in inputs]
    return fingerprint.of_json([files, [[task.source, task.key] for task in tasks]])


def identify(path: str) -> Identity:
    """What a local file is now. Raises `UserError` when it may not be read."""
    try:
        status = os.stat(path)
        return Identity(status.st_size, str(status.st_mtime_ns), _quick_fingerprint(path, status.st_size))
    except PermissionError:
        raise UserError(f"{path}: no permission to read this file") from None


def _quick_fingerprint(path: str, size: int) -> str:
    """SHA-256 over a few evenly spaced pieces: enough, with size and time, to notice another file of the same name."""
    digest = hashlib.sha256(str(size).encode())
    last = max(0, size - _PROBE_BYTES)
    with open(path, "rb") as file:
        for probe in range(_PROBES):
            file.seek(last * probe // (_PROBES - 1))
            digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()[:32]


def _first_records(tasks: list[Task], config: PipelineConfig, limit: int) -> list[Task]:
    """The tasks that hold the first `limit` records; the last one is told where to stop."""
    chosen: list[Task] = []
    for task in tasks:
        count = 0
        reading = source_for(task.path, task.options).open(task, limits(config))
        for batch in reading:
            count += batch.records
            if count >= limit:
                reading.stop()
        if count >= limit:
            chosen.append(replace(task, max_records=limit))
            return chosen
        chosen.append(task)
        limit -= count
    return chosen
