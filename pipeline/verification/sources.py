"""Compare documents with their sources: read sampled records again, map them with the reference engine, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.config import PipelineConfig
from pipeline.inspection.finding import FoundInputs
from pipeline.inspection.tracing import Record, SourceReader
from pipeline.mapping.map_task import Mapper
from pipeline.mapping.setup import MapSetup
from pipeline.plan import make_plan
from pipeline.sources.base import Batch, InputFile
from pipeline.verification.problems import Problems
from pipeline.workspace.part_store import PartStore
from pipeline.workspace.parts import Part
from shards.dataset import Dataset
from shards.manifest import TOKENIZER_DIRECTORY, Manifest
from shards.megatron import token_dtype


@dataclass
class Given:
    """A `Reading` of records that were read already."""

    records: Iterable[Record | None]
    position: int = 0
    newlines: int = 0
    digests: list[str] = field(default_factory=list)
    damage: str | None = None

    def __iter__(self) -> Iterator[Batch]:
        return (record.batch for record in self.records if record is not None)

    def stop(self) -> None:
        """There is nothing to stop."""


@dataclass(frozen=True)
class Sample:
    """One document that is looked at."""

    split: str
    number: int
    offset: int


def choose(datasets: dict[str, Dataset], wanted: int) -> dict[int, list[Sample]]:
    """`wanted` documents, evenly spread over all splits, by source number and in the order of their records."""
    total = sum(dataset.documents for dataset in datasets.values())
    places = np.unique(np.linspace(0, total - 1, min(wanted, total)).astype(np.int64)).tolist() if total else []
    chosen: dict[int, list[Sample]] = {}
    before = 0
    for split, dataset in datasets.items():
        for place in places:
            number = place - before
            if 0 <= number < dataset.documents:
                record = dataset.record(number)
                chosen.setdefault(int(record["source"]), []).append(Sample(split, number, int(record["offset"])))
        before += dataset.documents
    return {source: sorted(samples, key=lambda sample: sample.offset) for source, samples in sorted(chosen.items())}


class SourceCheck:
    """Re-tokenizes samples of a dataset."""

    def __init__(
        self,
        dataset: Path,
        manifest: Manifest,
        config: PipelineConfig,
        problems: Problems,
        progress: Callable[[int], object],
    ) -> None:
        self._dataset, self._manifest, self._config = dataset, manifest, config
        self._problems, self._progress = problems, progress
        self._dtype = token_dtype(manifest.vocab_size)
        self.changed: list[str] = []
        """Inputs that are not what the dataset was made from."""
        self.checked = 0

    def run(self, datasets: dict[str, Dataset], found: FoundInputs, samples: int) -> None:
        """Check `samples` documents of those whose input was found."""
        for source, samples_of_source in choose(datasets, samples).items():
            chosen = [
                sample for sample in samples_of_source if self._is_readable(datasets[sample.split], sample.number)
            ]
            if source in found.files:
                faults = self._check(found.files[source], chosen, datasets)
                if faults and not self._is_unchanged(source, found.files[source]):
                    self.changed.append(found.files[source].path)
                else:
                    for path, fault in faults:
                        self._problems.add(path, fault)
                    self.checked += len(chosen)
            self._progress(len(samples_of_source))

    def _is_readable(self, dataset: Dataset, number: int) -> bool:
        """Whether the records of a document's shard can be believed: damage that was named is not named again."""
        name = _shard_name(self._dataset, dataset, number)
        return not any(f"{name}{suffix}" in self._problems for suffix in (".idx", ".docs.npy"))

    def _check(self, file: InputFile, chosen: list[Sample], datasets: dict[str, Dataset]) -> list[tuple[str, str]]:
        offsets = sorted({sample.offset for sample in chosen})
        with tempfile.TemporaryDirectory(prefix="mateconv-verify-") as scratch:
            part = self._map(file, offsets, Path(scratch))
            documents = part.documents()
            tokens = np.array(part.tokens(self._dtype))
        borders = np.concatenate([[0], np.cumsum(documents["tokens"], dtype=np.int64)])
        place_of = {int(offset): place for place, offset in enumerate(documents["offset"])}
        faults = []
        for sample in chosen:
            dataset, place = datasets[sample.split], place_of.get(sample.offset)
            name = _shard_name(self._dataset, dataset, sample.number)
            where = f"document {sample.number} of {sample.split} ({file.name}, offset {sample.offset})"
            if place is None:
                faults.append((f"{name}.docs.npy", f"{where}: its source gives no document there"))
                continue
            ours, theirs = dataset.record(sample.number), documents[place]
            for column in ("content_hash", "label"):
                if ours[column] != theirs[column]:
                    faults.append((f"{name}.docs.npy", f"{where}: its {column} is not its source's"))
            if not self._same(dataset.document(sample.number), tokens[borders[place] : borders[place + 1]]):
                faults.append((f"{name}.bin", f"{where}: its tokens are not those of its source"))
        return faults

    def _map(self, file: InputFile, offsets: list[int], scratch: Path) -> Part:
        task = make_plan([file], self._config.model_copy(update={"max_samples": None}))[0]
        reader = SourceReader(file, self._config)
        given = Given(record for _, record in reader.records(offsets))
        store = PartStore(scratch / "parts", scratch / "staging")
        store.directory.mkdir()
        mapper = Mapper(MapSetup(self._config, self._dataset / TOKENIZER_DIRECTORY, store, None))
        mapper.run(task, lambda _: None, given)
        return store.part(task.key)

    def _same(self, ours: npt.NDArray[np.generic], theirs: npt.NDArray[np.generic]) -> bool:
        """Whether a document is what its source gives, or with `max_length` a piece of it."""
        if np.array_equal(ours, theirs):
            return True
        if not self._manifest.settings.get("max_length"):
            return False
        ending = len(self._manifest.terminator)
        piece, whole = ours[: len(ours) - ending], theirs[: len(theirs) - ending]
        return any(
            np.array_equal(whole[start : start + len(piece)], piece)
            for start in range(len(whole) - len(piece) + 1)
            if whole[start] == piece[0]
        )

    def _is_unchanged(self, source: int, file: InputFile) -> bool:
        """Whether an input is still what the dataset was made from. Asked only when something does not fit."""
        return SourceReader(file, self._config).fingerprint() == self._manifest.inputs[source].fingerprint


def _shard_name(path: Path, dataset: Dataset, number: int) -> str:
    """The path of the shard that holds a document, without suffix, relative to the dataset."""
    which = int(np.searchsorted(dataset.document_offsets, number, side="right")) - 1
    return dataset.shards[which].path.relative_to(path).as_posix().removesuffix(".bin")
