"""A document, or a whole dataset, in lines that people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.inspection.finding import Candidates
from pipeline.inspection.recorded import config_of
from pipeline.inspection.tracing import SourceReader
from pipeline.settings.inputs import InputSpec
from pipeline.workspace.areas import human_size
from shards.dataset import Dataset
from shards.documents import NO_LABEL
from shards.manifest import TOKENIZER_DIRECTORY, Manifest
from tokenization.tokenizer import Tokenizer


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.load(path / TOKENIZER_DIRECTORY)


@dataclass(frozen=True)
class Shown:
    """One document of an opened split."""

    dataset: Dataset
    number: int

    def ids(self) -> list[int]:
        """Its tokens, terminator included."""
        return [int(token) for token in self.dataset.document(self.number)]

    def text(self) -> str:
        """Its text; the terminator is stripped by its place."""
        assert self.dataset.manifest is not None
        ids = self.ids()
        return self.tokenizer.decode(ids[: len(ids) - len(self.dataset.manifest.terminator)], skip_special=False)

    @property
    def tokenizer(self) -> Tokenizer:
        """The dataset's tokenizer."""
        return _tokenizer(self.dataset.path)

    def piece(self) -> tuple[int, int]:
        """Which of how many neighbouring documents of the same record it is, from 1 (`max_length` cuts, weights
        repeat)."""
        first = last = self.number
        record = self.dataset.record(self.number)

        def same(number: int) -> bool:
            other = self.dataset.record(number)
            return bool(other["source"] == record["source"] and other["offset"] == record["offset"])

        while first > 0 and same(first - 1):
            first -= 1
        while last + 1 < self.dataset.documents and same(last + 1):
            last += 1
        return self.number - first + 1, last - first + 1


def show(shown: Shown, manifest: Manifest, tracer: Tracer, tokens: bool) -> Iterator[str]:
    """Everything about one document; with `tokens` also each of its tokens."""
    record, ids = shown.dataset.record(shown.number), shown.ids()
    if record["source"] >= len(manifest.inputs):
        raise UserError(
            f"{shown.dataset.path}: document {shown.number} of {shown.dataset.split} names source {record['source']} of"
            f" {len(manifest.inputs)}; check the dataset with python -m pipeline.verify {shown.dataset.path}"
        )
    entry = manifest.inputs[int(record["source"])]
    yield f"document {shown.number} of {shown.dataset.split}"
    yield f"  source   {entry.name}, offset {int(record['offset'])}"
    if record["label"] != NO_LABEL:
        yield f"  label    {int(record['label'])}"
    place, count = shown.piece()
    if count > 1:
        yield f"  piece    {place} of {count} that its record gave in a row"
    yield f"  tokens   {len(ids)}, of them {len(manifest.terminator)} terminator"
    yield f"  hash     {record['content_hash'].tobytes().hex()} (SHA-256 of the cleaned text, first half)"
    yield from _ranges(shown, ids)
    yield "  text"
    yield from _indented(shown.text())
    if tokens:
        yield "  token    id  piece"
        for number, token in enumerate(ids):
            yield f"  {number:>5} {token:>6}  {shown.tokenizer.decode([token], skip_special=False)!r}"
    yield from tracer.lines(int(record["source"]), int(record["offset"]))
    yield ""


def _ranges(shown: Shown, ids: list[int]) -> Iterator[str]:
    """The trained spans of a chat document, the sentences of one that has them."""
    spans, sentences = shown.dataset.spans(shown.number), shown.dataset.sentences(shown.number)
    for name, ranges in (("trained", spans), ("sentence", sentences)):
        if ranges is None:
            continue
        pairs = ranges.tolist() if ranges.ndim == 2 else np.stack([np.append([0], ranges[:-1]), ranges], 1).tolist()
        for start, end in pairs:
            text = shown.tokenizer.decode(ids[start:end], skip_special=False)
            yield f"  {name:8} [{start}, {end})  {text if len(text) <= 90 else text[:89] + '…'!r}"


def _indented(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"    {line}".rstrip()


class Tracer:
    """Finds the records of documents again. Looks for the inputs once, when it is first asked."""

    def __init__(self, path: Path, manifest: Manifest, inputs: Sequence[str | InputSpec]) -> None:
        self._path, self._manifest, self._inputs = path, manifest, inputs
        self._readers: dict[int, SourceReader] = {}

    @cached_property
    def _config(self) -> PipelineConfig:
        return config_of(self._manifest.settings, tokenizer=self._path / TOKENIZER_DIRECTORY, output=self._path)

    @cached_property
    def _candidates(self) -> Candidates | UserError:
        try:
            return Candidates.of(self._inputs, self._config)
        except UserError as error:
            return error

    def _reader(self, source: int) -> SourceReader:
        if isinstance(self._candidates, UserError):
            raise self._candidates
        if source not in self._readers:
            file = self._candidates.find(self._manifest.inputs[source])
            self._readers[source] = SourceReader(file, self._config)
        return self._readers[source]

    def lines(self, source: int, offset: int) -> Iterator[str]:
        """Where a record is, and the record: its raw line, or its text as extracted."""
        try:
            reader = self._reader(source)
        except UserError as error:
            yield f"  origin   {error}"
            return
        file = reader.file
        line = reader.line_at(offset)
        where = f"{file.path}, line {line[1]}" if line else f"{file.path}, row {offset}"
        if line is not None and file.options.format == "jsonl":
            yield f"  origin   {where}:"
            yield from _indented(line[0].decode(errors="backslashreplace"))
            return
        for _, record in reader.records([offset]):
            if record is None:
                yield f"  origin   {where}: no record begins there; the file has changed"
            else:
                yield f"  origin   {where}, as it is extracted there:"
                yield from _indented(record.text.decode(errors="backslashreplace"))


def overview(path: Path, manifest: Manifest) -> Iterator[str]:
    """What a dataset is and holds."""
    yield f"{path}  (identity {manifest.identity[:16]}…)"
    yield f"  vocabulary  {manifest.vocab_size:,} tokens, stored as {manifest.dtype}"
    roles = ", ".join(f"{role} {entry.token!r} = {entry.id}" for role, entry in manifest.roles.items())
    yield f"  roles       {roles or 'none'}; each document ends with {manifest.terminator or 'nothing'}"
    for split, entry in manifest.splits.items():
        if entry.documents:
            yield (
                f"  {split:11} {entry.documents:>11,} documents {entry.tokens:>13,} tokens"
                f" {human_size(entry.text_bytes):>9} of text, {len(entry.shards)} shard{'s'[: len(entry.shards) != 1]}"
            )
    yield "  inputs"
    for source in manifest.inputs:
        yield f"    {source.name}  {human_size(source.bytes)}"
    defaults = PipelineConfig().model_dump(mode="json")
    changed = {key: value for key, value in manifest.settings.items() if key in defaults and defaults[key] != value}
    yield f"  settings    {', '.join(f'{key} {value}' for key, value in changed.items()) or 'the defaults'}"
    yield f"  next        python -m pipeline.inspect {path} --random 3"
