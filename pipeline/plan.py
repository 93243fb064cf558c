"""Plan: fingerprint the inputs and cut them into tasks. A task is a piece of input, never a worker's share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

from foundation import fingerprint
from foundation.logs import get_logger
from pipeline.config import PipelineConfig
from pipeline.executors.base import ATTEMPTS
from pipeline.sources.base import Identity, InputFile, Limits, Piece, Task
from pipeline.sources.files import REMOTE_THREADS, RemoteFault, identify, is_url
from pipeline.sources.registry import source_for

log = get_logger("pipeline.plan")
Value = TypeVar("Value")


def limits(config: PipelineConfig) -> Limits:
    """The part of the configuration that bounds every reader."""
    return Limits(config.max_record_bytes, config.block_bytes)


def persistently(read: Callable[[], Value]) -> Value:
    """What `read` gives; it is called again when a remote store fails, as often as workers try a task."""
    for _ in range(ATTEMPTS - 1):
        try:
            return read()
        except RemoteFault as error:
            log.warning("%s; trying again", error)
    return read()


def make_plan(inputs: list[InputFile], config: PipelineConfig) -> list[Task]:
    """All tasks in input order. With `max_samples`, inputs behind the last record that is wanted are not looked at.
    Raises `UserError` when a file cannot be read."""
    bounds, left = limits(config), config.max_samples
    tasks: list[Task] = []
    for number, (file, (identity, pieces)) in enumerate(zip(inputs, _all_pieces(inputs, bounds, left), strict=False)):
        for piece in pieces:
            task = Task(number, file.path, piece.start, piece.end, piece.bytes, identity, file.options)
            if left is not None:
                records = piece.records
                if records is None:
                    records = persistently(partial(_count, task, bounds, left))
                if records >= left:
                    return [*tasks, replace(task, max_records=left)]
                left -= records
            tasks.append(task)
    return tasks


def _all_pieces(inputs: list[InputFile], bounds: Limits, left: int | None) -> Iterator[tuple[Identity, list[Piece]]]:
    """Identity and pieces of each input in order; remote ones are looked at several at a time, if all are wanted."""

    def pieces(file: InputFile) -> tuple[Identity, list[Piece]]:
        def look() -> tuple[Identity, list[Piece]]:
            identity = file.identity or identify(file.path)
            return identity, source_for(file.path, file.options).plan(file, identity, bounds)

        return persistently(look)

    if left is not None or sum(is_url(file.path) for file in inputs) < 2:
        yield from map(pieces, inputs)
        return
    with ThreadPoolExecutor(REMOTE_THREADS) as pool:
        yield from pool.map(pieces, inputs)


def _count(task: Task, bounds: Limits, enough: int) -> int:
    """The records of a task; reads it, up to `enough` of them."""
    count = 0
    for batch in source_for(task.path, task.options).open(task, bounds):
        count += batch.records
        if count >= enough:
            break
    return count


def plan_fingerprint(inputs: list[InputFile], tasks: list[Task]) -> str:
    """What a plan reads and what it calls it: a dataset made from an equal plan is up to date."""
    files = [[file.name, file.options.split, file.options.weight] for file in inputs]
    return fingerprint.of_json([files, [[task.source, task.key] for task in tasks]])
