"""Rebuild single shards: their own records say which documents they hold, so only the parts of these are needed.

A shard whose `.docs.npy` is whole lists its documents by source, offset and content hash. They are looked for in the
parts of the work area, and those not found there are mapped again from the tasks they lie in. What was rebuilt counts
only when every file has the checksum that the manifest names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.mapping.encode import AuditMismatch
from pipeline.mapping.map_task import Mapper
from pipeline.mapping.setup import MapSetup
from pipeline.plan import make_plan
from pipeline.publishing.pieces import cut
from pipeline.publishing.runs import Run, read_runs
from pipeline.sources.base import InputFile, Task
from pipeline.sources.registry import source_for
from pipeline.tokenizer_stage import choose_engine
from pipeline.workspace.part_store import PartStore
from pipeline.workspace.parts import DOCUMENTS, Part
from shards.documents import EXTRAS, Rows, read_records
from shards.manifest import TOKENIZER_DIRECTORY, Manifest, ShardEntry
from shards.megatron import token_dtype
from shards.writer import SplitWriter
from tokenization.tokenizer import Tokenizer

Key = tuple[int, bytes]
"""Offset and content hash of a document."""
_RECORDS = ".docs.npy"


@dataclass
class ShardRepair:
    """Rebuilds shards of `dataset` into `scratch`. `files`: the inputs that were found, by source number; `parts`: the
    committed parts of the work area."""

    dataset: Path
    manifest: Manifest
    config: PipelineConfig
    files: dict[int, InputFile]
    parts: Sequence[Part]
    scratch: Path
    _mapper: Mapper | None = None
    _mapped: list[Part] = field(default_factory=list)

    def rebuild(self, split: str, shard: ShardEntry) -> dict[str, Path] | None:
        """The files of one shard made again, by suffix; None when they are not those that the manifest names."""
        try:
            records = read_records(self.dataset / split / f"{shard.name}{_RECORDS}", shard.documents)
            found = self._locate(records)
            if found is None:
                return None
            extras = tuple(name for name, (suffix, _) in EXTRAS.items() if suffix in shard.files)
            writer = SplitWriter(self.scratch / split, token_dtype(self.manifest.vocab_size), 1 << 62, extras)
            for run in self._pieces(records, found, extras):
                writer.append(run.tokens, run.lengths, run.records, run.text_bytes, run.extras)
            (made,) = writer.finish().shards
        except (UserError, AuditMismatch, FileNotFoundError):
            return None
        if made.files != shard.files:
            return None
        return {suffix: self.scratch / split / f"{made.name}{suffix}" for suffix in made.files}

    def _locate(self, records: Rows) -> list[tuple[Part, int]] | None:
        """Part and place in it of every record (n,); None when one is nowhere."""
        keys = _keys(records["offset"], records["content_hash"])
        missing = set(keys)
        found: dict[Key, tuple[Part, int]] = {}
        for part in [*self._mapped, *self.parts]:
            _search(part, missing, found)
        for task in self._tasks(records, [key in missing for key in keys]):
            self._mapped.append(self._map(task))
            _search(self._mapped[-1], missing, found)
        return None if missing else [found[key] for key in keys]

    def _tasks(self, records: Rows, wanted: Sequence[bool]) -> Iterator[Task]:
        """The tasks in which the wanted records lie."""
        lost = records[np.array(wanted, np.bool_)]
        for source in np.unique(lost["source"]).tolist():
            file = self.files.get(source)
            if file is None:
                continue
            offsets = lost["offset"][lost["source"] == source]
            cut_by_bytes = source_for(file.path, file.options).pieces == "bytes" and not file.options.compression
            for task in make_plan([file], self.config.model_copy(update={"max_samples": None})):
                if not cut_by_bytes or ((offsets >= task.start) & (offsets < task.end)).any():
                    yield task

    def _map(self, task: Task) -> Part:
        store = PartStore(self.scratch / "parts", self.scratch / "staging")
        if self._mapper is None:
            store.directory.mkdir(parents=True, exist_ok=True)
            place = self.dataset / TOKENIZER_DIRECTORY
            factory = choose_engine(self.config, Tokenizer.load(place))
            self._mapper = Mapper(MapSetup(self.config, place, store, factory))
        with tqdm(total=task.bytes, unit="B", unit_scale=True, desc=f"map {task.label}", leave=False) as bar:
            self._mapper.run(task, lambda size: _tell(bar, size))
        return store.part(task.key)

    def _pieces(self, records: Rows, found: list[tuple[Part, int]], extras: tuple[str, ...]) -> Iterator[Run]:
        """The documents of the shard, in its order. `max_length` may have given pieces of the first one to the shard
        before, and of the last one to the shard behind."""
        skip, left = self._pieces_before(records, found[0]), len(records)
        for source, part, places in _segments(records, found):
            for run in self._runs(source, part, places, extras):
                first, last = min(skip, len(run.lengths)), min(len(run.lengths), skip + left)
                skip -= first
                left -= last - first
                if last > first:
                    yield _part_of(run, first, last)

    def _runs(self, source: int, part: Part, places: list[int], extras: tuple[str, ...]) -> Iterator[Run]:
        documents = part.documents()
        chosen = np.zeros(len(documents), np.bool_)
        chosen[places] = True
        dtype = token_dtype(self.manifest.vocab_size)
        for run in read_runs(part, documents, chosen, source, dtype, extras):
            yield (
                run
                if self.config.max_length is None
                else cut(run, self.config.max_length, len(self.manifest.terminator))
            )

    def _pieces_before(self, records: Rows, first: tuple[Part, int]) -> int:
        """Pieces of the first document that lie in the shard before: what it has more than this shard shows."""
        if self.config.max_length is None:
            return 0
        same = (records["source"] == records["source"][0]) & (records["offset"] == records["offset"][0])
        here = len(same) if same.all() else int(np.argmin(same))
        if here == len(records):
            return 0
        part, place = first
        return sum(len(run.lengths) for run in self._runs(0, part, [place], ())) - here


def _tell(bar: Any, size: int) -> None:
    bar.update(size)


def _keys(offsets: npt.NDArray[np.integer], hashes: npt.NDArray[np.void]) -> list[Key]:
    return list(zip(offsets.tolist(), hashes.tolist(), strict=True))


def _search(part: Part, missing: set[Key], found: dict[Key, tuple[Part, int]]) -> None:
    """Move the documents of a part from `missing` to `found`. A damaged part has none."""
    if not missing:
        return
    if not part.is_whole(DOCUMENTS):  # asked first: NumPy has many answers to a damaged header
        return
    documents = part.documents()
    here = [(key, place) for place, key in enumerate(_keys(documents["offset"], documents["content_hash"]))]
    here = [(key, place) for key, place in here if key in missing]
    if here and part.is_whole():
        for key, place in here:
            found.setdefault(key, (part, place))
        missing.difference_update(key for key, _ in here)


def _segments(records: Rows, found: Sequence[tuple[Part, int]]) -> Iterable[tuple[int, Part, list[int]]]:
    """Stretches of documents that stand in one part in ascending order: source, part, places. The neighbouring records
    of one document's pieces count once."""
    source, part, places = -1, found[0][0], list[int]()
    previous: Key | None = None
    for number, (where, place) in enumerate(found):
        record = records[number]
        now = (int(record["source"]), int(record["offset"]).to_bytes(8))
        if now == previous:
            continue
        previous = now
        if now[0] != source or where is not part or (places and place <= places[-1]):
            if places:
                yield source, part, places
            source, part, places = now[0], where, []
        places.append(place)
    if places:
        yield source, part, places


def _part_of(run: Run, first: int, last: int) -> Run:
    """The documents [first, last) of a run."""
    if (first, last) == (0, len(run.lengths)):
        return run
    ends = np.cumsum(run.lengths, dtype=np.int64)
    start = int(ends[first - 1]) if first else 0
    extras = {}
    for name, rows in run.extras.items():
        kept = rows[(rows["document"] >= first) & (rows["document"] < last)].copy()
        kept["document"] -= first
        extras[name] = kept
    documents = slice(first, last)
    return Run(
        run.tokens[start : int(ends[last - 1])], run.lengths[documents], run.records[documents],
        run.text_bytes[documents], extras,
    )  # fmt: skip
