"""Decontamination: leave out documents that share a word n-gram with an evaluation set (13 words as for GPT-3, Brown et
al., 2020, appendix C, and Gopher, Rae et al., 2021, appendix A).

The evaluation set is a sorted table of 64-bit hashes of its n-grams: made once, kept in the work area, and mapped by
the workers. Words are those of `words`: case, punctuation and white space do not matter, and in unspaced scripts every
character is a word. A text of fewer words counts as a whole: it is found in documents that say just the same.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation import atomic, fingerprint
from foundation.errors import UserError
from foundation.logs import get_logger
from pipeline.cleaning.cleaner import Cleaner
from pipeline.config import PipelineConfig
from pipeline.dedup.shingles import shingle_hashes
from pipeline.dedup.words import by_alphabet
from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.sources.base import InputFile
from pipeline.sources.find import find_inputs
from pipeline.sources.registry import source_for
from pipeline.sources.staging import stage

REASON = "contaminated"
TABLE = "evaluation_ngrams.npy"
"""Name of the table in the work area."""
Ngrams = npt.NDArray[np.uint64]
_FIELD = (
    "the field that holds the text, in decontaminate: [{path: …, text_field: …}] of the configuration file or with"
    " --text_field"
)
log = get_logger("pipeline.decontaminate")


@dataclass(frozen=True)
class Evaluation:
    """An evaluation set: the fingerprint of its n-grams, and the table of them unless only the former is known."""

    fingerprint: str
    ngrams: Ngrams | None

    def store(self, directory: Path) -> None:
        """Put the table into the work area `directory`, where work of other evaluation sets never lies."""
        path = directory / TABLE
        if path.exists():
            return
        if self.ngrams is None:
            raise self.missing(directory)
        with atomic.atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.ngrams)

    def missing(self, directory: Path) -> UserError:
        """What to say when the n-grams are needed and not there."""
        return UserError(
            f"the evaluation set {self.fingerprint[:16]}… is not in {directory}; name its files with --decontaminate"
        )


def read_evaluation(config: PipelineConfig) -> Evaluation:
    """Read the files that `config.decontaminate` names. A single fingerprint, as a manifest has it, stands for a set
    whose table is in the work area."""
    given = config.decontaminate
    if len(given) == 1 and isinstance(given[0], str) and fingerprint.is_one(given[0]):
        return Evaluation(given[0], None)
    ngrams = _read(config)
    return Evaluation(fingerprint.of_bytes(ngrams.astype("<u8").tobytes()), ngrams)


def contamination_filter(config: PipelineConfig, directory: Path) -> ContaminationFilter:
    """The filter that `config` asks for. The table in the work area `directory` is mapped; where it is not there (on a
    machine that does not share the work area) the evaluation files are read."""
    path = directory / TABLE
    if path.exists():
        ngrams: Ngrams | None = np.load(path, mmap_mode="r", allow_pickle=False)
    else:
        evaluation = read_evaluation(config)
        ngrams = evaluation.ngrams
        if ngrams is None:
            raise evaluation.missing(directory)
    assert ngrams is not None
    return ContaminationFilter(ngrams, config.decontaminate_ngram)


class ContaminationFilter(Filter):
    """Reason: `contaminated`. Looks at every n-gram, so it comes last. `ngrams` are sorted."""

    alone = True

    def __init__(self, ngrams: Ngrams, size: int) -> None:
        self._ngrams, self._size = ngrams, size
        self._shift = np.uint64(64 - max(16, min(24, (8 * len(ngrams)).bit_length())))
        self._maybe = np.zeros(1 << (64 - int(self._shift)), np.bool_)  # by the upper bits: most are answered here
        self._maybe[ngrams >> self._shift] = True

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        dropped: dict[int, str] = {}
        for places in by_alphabet(batch.texts):
            hashes, counts = shingle_hashes([batch.texts[place] for place in places], self._size, np.uint64)
            suspects = np.flatnonzero(self._maybe[hashes >> self._shift])
            found = suspects[self._holds(hashes[suspects])]
            owners = np.searchsorted(np.cumsum(counts), found, side="right")
            dropped |= dict.fromkeys(places[np.unique(owners)].tolist(), REASON)
        return Verdicts(dropped)

    def _holds(self, hashes: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.bool_]:
        if not len(self._ngrams):
            return np.zeros(len(hashes), np.bool_)
        places = np.minimum(np.searchsorted(self._ngrams, hashes), len(self._ngrams) - 1)
        return np.asarray(self._ngrams[places] == hashes)


def _read(config: PipelineConfig) -> Ngrams:
    """The sorted hashes of all n-grams of the evaluation files."""
    tables = [np.zeros(0, np.uint64)]
    found = find_inputs(config.model_copy(update={"input": config.decontaminate, "max_samples": None}))
    with tempfile.TemporaryDirectory(prefix="mateconv-evaluation-") as scratch:
        for file, readable in zip(found, stage(found, Path(scratch)), strict=True):
            documents = 0
            for texts in _texts(readable, config, file.path):
                documents += len(texts)
                for places in by_alphabet(texts):
                    chosen = [texts[place] for place in places]
                    hashes, _ = shingle_hashes(chosen, config.decontaminate_ngram, np.uint64)
                    tables.append(np.unique(hashes).astype(np.uint64))
            if not documents:
                raise UserError(f"{file.path}: no text to decontaminate from was found; name {_FIELD}")
    ngrams: Ngrams = np.unique(np.concatenate(tables))
    log.info("decontamination: %d n-grams of %d words", len(ngrams), config.decontaminate_ngram)
    return ngrams


def _texts(file: InputFile, config: PipelineConfig, named: str) -> Iterator[list[bytes]]:
    """The cleaned texts of one evaluation file, which the user `named`.

    Raises `UserError` at its end when something in it could not be read: the dataset is to be known as free of the
    whole set.
    """
    from pipeline.plan import limits
    from pipeline.sources.base import Task
    from pipeline.sources.files import identify

    options = replace(file.options, label_field=None)  # a label, readable or not, concerns nobody here
    cleaner, bounds, source = Cleaner(config), limits(config), source_for(file.path, options)
    identity = file.identity or identify(file.path)
    records, faults, details = 0, Counter[str](), dict[str, str]()
    for piece in source.plan(file, identity, bounds):
        task = Task(0, file.path, piece.start, piece.end, piece.bytes, identity, options)
        reading = source.open(task, bounds)
        for batch in reading:
            records += batch.records
            for bad in batch.bad:
                faults[bad.reason] += 1
                details.setdefault(bad.reason, bad.detail[:200])
            yield cleaner.clean(batch.texts)
        if reading.damage:
            raise UserError(
                f"{named}: damaged ({reading.damage}), so what is behind the damage would not be looked for;"
                " put a whole copy of this evaluation file there"
            )
    if faults:
        ((reason, count),) = faults.most_common(1)
        raise UserError(
            f"{named}: {faults.total()} of {records} records cannot be read, so their texts would not be looked for"
            f" (the commonest reason, {count} times: {reason}, {details[reason]}); mend them, or name {_FIELD}"
        )
