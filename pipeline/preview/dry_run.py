"""`python -m pipeline.process --dry_run`: map a small sample for real and say what the whole would come to."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.mapping.map_task import Mapper
from pipeline.mapping.rejects import REJECTED_ROWS
from pipeline.mapping.setup import MapSetup
from pipeline.plan import limits, make_plan
from pipeline.preview.sampling import PICK_BYTES, Pick, SampledReading, pick, readings
from pipeline.sources.base import Task
from pipeline.sources.find import check_apart, find_inputs
from pipeline.sources.staging import stage
from pipeline.statistics.token_counts import SAMPLE, TOKEN_COUNTS
from pipeline.tokenizer_stage import choose_engine, prepare_tokenizer
from pipeline.workspace.part_store import PartStore
from pipeline.workspace.parts import SUMMARY, Part, Summary
from pipeline.workspace.place import place_of
from pipeline.workspace.work_of import work_of
from shards.documents import RECORD
from shards.manifest import TOKENIZER_DIRECTORY
from shards.megatron import token_dtype
from tokenization.tokenizer import Tokenizer

SHARE = 0.01
LEAST_BYTES, MOST_BYTES = 8 * PICK_BYTES, 256 * PICK_BYTES
LEAST_DOCUMENTS = 500
TRAINING_BYTES = 16_000_000
"""Bytes of text a tokenizer is trained on here, where the real run may take more."""
INDEX_BYTES = 20
"""Bytes of the .idx for each document (see `shards.megatron`)."""
OF_EACH_PART = {SUMMARY, REJECTED_ROWS, f"{TOKEN_COUNTS}.npy", f"{SAMPLE}.npy"}
"""Files whose size hardly depends on how much a part holds."""
EXAMPLES = 2
EXAMPLE_CHARS = 200
START_SECONDS = 1.5
"""Loading the libraries and starting the workers."""
PUBLISH_BYTES_PER_SECOND = 400e6
PARENT_BYTES = 100e6
BYTES_PER_DOCUMENT = 45
"""What deciding keeps in memory of each document."""


@dataclass
class Estimate:
    """What the whole input would come to, extrapolated. `seen_…` is what the sample really held."""

    input_bytes: int
    tasks: int
    seen_bytes: float = 0.0
    seen_records: int = 0
    seen_duplicates: int = 0
    whole: bool = True
    """Whether the sample is the whole input."""
    records: float = 0.0
    documents: float = 0.0
    tokens: float = 0.0
    text_bytes: float = 0.0
    shard_bytes: float = 0.0
    work_bytes: float = 0.0
    seconds: float = 0.0
    memory_bytes: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str]] = field(default_factory=list)
    engine: str = ""
    tokenizer: str = ""


def dry_run(config: PipelineConfig) -> Estimate:
    """Read, clean, filter and encode about 1% of the input and extrapolate. Leaves nothing behind.

    Raises `UserError` for what would stop the real run at its start.
    """
    inputs = find_inputs(config)
    check_apart(inputs, place_of(config).shown)
    with tempfile.TemporaryDirectory(prefix="mateconv-dry-run-") as scratch:
        tasks = make_plan(stage(inputs, Path(scratch) / "inputs"), config)
        total = sum(task.bytes for task in tasks)
        if not total:
            raise UserError("the input is empty: there is nothing to try")
        wanted = int(min(max(total * SHARE, LEAST_BYTES), MOST_BYTES))
        started = time.perf_counter()
        place, told = _tokenizer(config, tasks, Path(scratch))
        training = time.perf_counter() - started if told.startswith("trained") else 0.0
        while True:
            estimate = _Sampling(config, tasks, place, Path(scratch)).run(wanted)
            if estimate.seen_records >= LEAST_DOCUMENTS or wanted >= min(total, MOST_BYTES):
                break
            wanted *= 2
    estimate.tokenizer = told
    estimate.seconds += training * min(config.tokenizer_sample_bytes, total) / min(TRAINING_BYTES, total)
    return estimate


def _tokenizer(config: PipelineConfig, tasks: list[Task], scratch: Path) -> tuple[Path, str]:
    """Directory of the tokenizer that the real run would use or one much like it, and where it is from."""
    if config.tokenizer is not None:
        prepare_tokenizer(config, tasks, scratch / "tokenizer", Tokenizer.load(config.tokenizer))
        return scratch / "tokenizer", f"given, {config.tokenizer}"
    place = place_of(config)
    frozen = work_of(place, {**config.settings(), "tokenizer": "trained"}).tokenizer
    for known in [frozen, *([place.output / TOKENIZER_DIRECTORY] if place.output else [])]:
        if (known / "tokenizer.json").is_file():
            return known, f"frozen by an earlier run, {known}"
    smaller = min(config.tokenizer_sample_bytes, TRAINING_BYTES)
    prepare_tokenizer(config.model_copy(update={"tokenizer_sample_bytes": smaller}), tasks, scratch / "tokenizer", None)
    return scratch / "tokenizer", f"trained for this trial, on at most {smaller / 1e6:.0f} MB"


class _Sampling:
    """Maps one sample and adds up what it stands for."""

    def __init__(self, config: PipelineConfig, tasks: list[Task], tokenizer: Path, scratch: Path) -> None:
        self._config, self._tasks = config, tasks
        loaded = Tokenizer.load(tokenizer)
        self._tokenizer, self._dtype = loaded, token_dtype(loaded.vocab_size)
        self._store = PartStore(scratch / "parts", scratch / "staging")
        self._mapper = Mapper(MapSetup(config, tokenizer, self._store, choose_engine(config, loaded)))
        self._estimate = Estimate(sum(task.bytes for task in tasks), len(tasks))
        self._hashes: list[npt.NDArray[np.void]] = []
        self._fixed_bytes = 0
        self._costs: list[tuple[float, float]] = []  # seconds for each byte of reading, of all else

    def run(self, wanted: int) -> Estimate:
        picks = pick(self._tasks, wanted)
        with tqdm(total=sum(p.budget for p in picks), unit="B", unit_scale=True, desc="dry run", leave=False) as bar:
            for chosen, reading in readings(picks, limits(self._config), MOST_BYTES):
                self._mapper.run(chosen.task, lambda _: None, reading)
                part = self._store.part(chosen.task.key)
                self._add(chosen, reading, part)
                bar.update(chosen.budget)
        self._finish(picks)
        return self._estimate

    def _add(self, chosen: Pick, reading: SampledReading, part: Part) -> None:
        estimate, summary, covered = self._estimate, part.summary(), reading.covered
        estimate.seen_bytes += covered
        estimate.seen_records += summary.records
        estimate.whole &= reading.is_whole
        if not covered:
            return
        factor = chosen.stands_for / covered
        most = chosen.task.max_records
        if most is not None and summary.records * factor > most:
            factor = most / summary.records
        self._count(summary, part, factor, chosen.task.options.weight)
        self._cost(summary, reading)
        self._take_examples(part)

    def _count(self, summary: Summary, part: Part, factor: float, weight: float) -> None:
        estimate, documents = self._estimate, part.documents()
        self._hashes.append(np.array(documents["content_hash"]))
        estimate.records += factor * summary.records
        estimate.documents += factor * summary.documents
        estimate.tokens += factor * summary.tokens * weight
        estimate.text_bytes += factor * int(documents["text_bytes"].sum(dtype=np.int64))
        for reason, (number, _) in summary.rejected.items():
            estimate.rejected[reason] += round(factor * number)
        for reason, (number, _) in summary.quarantined.items():
            estimate.quarantined[reason] += round(factor * number)
        token_bytes = summary.tokens * self._dtype.itemsize
        estimate.shard_bytes += factor * weight * (token_bytes + summary.documents * (RECORD.itemsize + INDEX_BYTES))
        for path in part.directory.iterdir():
            if path.name in OF_EACH_PART:
                self._fixed_bytes += path.stat().st_size
            else:
                estimate.work_bytes += factor * path.stat().st_size
        estimate.engine = summary.engine

    def _cost(self, summary: Summary, reading: SampledReading) -> None:
        reads = summary.seconds.get("read", 0.0) / max(1, reading.position)
        rest = sum(seconds for step, seconds in summary.seconds.items() if step != "read") / reading.covered
        self._costs.append((reads, rest))

    def _take_examples(self, part: Part) -> None:
        kinds = Counter(kind for kind, _ in self._estimate.examples)
        lengths = part.documents()["tokens"][:EXAMPLES].tolist()
        tokens, start = part.tokens(self._dtype), 0
        for length in lengths[: EXAMPLES - kinds["kept"]]:
            text = self._tokenizer.decode(tokens[start : start + length].tolist())
            self._estimate.examples.append(("kept", _shortened(text)))
            start += length
        for row in part.rows(REJECTED_ROWS):
            kind = f"rejected, {row['reason']}"
            if kinds[kind] < EXAMPLES:
                kinds[kind] += 1
                self._estimate.examples.append((kind, _shortened(row["text"])))
        for row in part.rows("quarantine.jsonl"):
            kind = f"quarantined, {row['reason']}"
            if kinds[kind] < EXAMPLES:
                kinds[kind] += 1
                self._estimate.examples.append((kind, _shortened(row["detail"])))

    def _finish(self, picks: list[Pick]) -> None:
        estimate, config = self._estimate, self._config
        if self._hashes:
            hashes = np.concatenate(self._hashes)
            estimate.seen_duplicates = len(hashes) - len(np.unique(hashes)) if config.exact_dedup else 0
        estimate.whole &= len(picks) == len(self._tasks)
        estimate.work_bytes += self._fixed_bytes / len(picks) * len(self._tasks)
        workers = min(config.worker_count(), len(self._tasks))
        warm = self._costs[len(self._costs) // 2 :]  # the first ones also fill the tokenizer's memory
        if warm:
            each = sum(reads + rest for reads, rest in warm) / len(warm)
            mapping = estimate.input_bytes * each / workers
            estimate.seconds = START_SECONDS + mapping + estimate.shard_bytes / PUBLISH_BYTES_PER_SECOND
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        estimate.memory_bytes = workers * own + PARENT_BYTES + BYTES_PER_DOCUMENT * estimate.documents


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXAMPLE_CHARS else line[: EXAMPLE_CHARS - 1] + "…"
