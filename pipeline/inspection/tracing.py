"""From a document back to its source: find the input files of a dataset again, and read single records of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from foundation import fingerprint
from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.plan import limits, make_plan
from pipeline.settings.inputs import InputSpec
from pipeline.sources.base import Batch, InputFile, InputOptions, Task, as_utf8
from pipeline.sources.blocks import ByteReader
from pipeline.sources.files import identify
from pipeline.sources.find import find_inputs
from pipeline.sources.registry import source_for
from shards.manifest import InputEntry, Manifest

TOKENIZER_SETTING = "tokenizer"
TRAINED = "trained"


def config_of(settings: Mapping[str, Any], configured: PipelineConfig | None = None, **changes: Any) -> PipelineConfig:
    """The configuration that gives a dataset's `settings`; `changes` are what these do not hold.

    A dataset may come from strangers, and its settings may name a Python function (`custom_filter`): that is loaded
    only when the user's own configuration, `configured`, names it too; without `configured` it is left out, for those
    who only read records. Raises `UserError` for settings that cannot be used.
    """
    values = {key: value for key, value in settings.items() if key != TOKENIZER_SETTING}
    function = values.get("custom_filter")
    if configured is None:
        values |= {"custom_filter": None, "custom_filter_source": None, "decontaminate": []}
    elif function is not None and function != configured.custom_filter:
        raise UserError(
            f"the dataset was filtered by the Python function {function}; to let it run here, name it in the"
            " configuration file, as custom_filter"
        )
    try:
        return PipelineConfig(**{**values, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise UserError(f"the dataset's settings cannot be used by this version ({name}: {first['msg']})") from None


@dataclass(frozen=True)
class Record:
    """One record as its source gives it."""

    text: bytes
    label: int
    batch: Batch  # of this record alone


@dataclass(frozen=True)
class FoundInputs:
    """The input files of a dataset, by source number, and why the others are not there."""

    files: dict[int, InputFile]
    missing: dict[int, str]


def find_sources(manifest: Manifest, patterns: Sequence[str | InputSpec], config: PipelineConfig) -> FoundInputs:
    """Look for the dataset's inputs in `patterns` (files, directories, globs), by name and size.

    A dataset names its inputs relative to what was given when it was made, so a file may be found by the end of its
    path, too. Raises `UserError` for a pattern that names nothing.
    """
    candidates: list[InputFile] = []
    for pattern in patterns:
        candidates += find_inputs(config.model_copy(update={"input": [pattern]}))
    files: dict[int, InputFile] = {}
    missing: dict[int, str] = {}
    for number, entry in enumerate(manifest.inputs):
        named = sorted((_distance(entry.name, file), place) for place, file in enumerate(candidates))
        fitting = [candidates[place] for distance, place in named if distance < len(_DISTANCES)]
        same = [
            file for file in fitting if entry.bytes in (_size(file), 0)
        ]  # 0: not read, since max_samples came before
        if same:
            files[number] = replace(same[0], name=entry.name, options=_options(entry, same[0]))
        elif fitting:
            missing[number] = (
                f"{fitting[0].path} has {_size(fitting[0])} bytes, the dataset was made from {entry.bytes}"
            )
        else:
            missing[number] = f"{entry.name}: not found; name the file or its directory with --input"
    return FoundInputs(files, missing)


def _options(entry: InputEntry, file: InputFile) -> InputOptions:
    """How the input was read then; as it would be read now when the manifest says nothing."""
    if not entry.options:
        return file.options
    return InputOptions(**{**entry.options, "labels": tuple(entry.options.get("labels", ()))})


_DISTANCES = ("the same name", "without the number of an input", "the end of the path", "the file's name alone")


def _distance(name: str, file: InputFile) -> int:
    """How far a candidate's name is from the recorded one: the place in `_DISTANCES`, or beyond."""
    if file.name == name:
        return 0
    first, _, rest = name.partition("/")
    short = rest if first.isdigit() and rest else name  # inputs of equal names are told apart by a number in front
    if file.name == short:
        return 1
    path = as_utf8("/" + PurePosixPath(file.path.replace("\\", "/")).as_posix())
    if path.endswith("/" + short):
        return 2
    return 3 if path.rpartition("/")[2] == short.rpartition("/")[2] else len(_DISTANCES)


def _size(file: InputFile) -> int:
    return (file.identity or identify(file.path)).size


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
