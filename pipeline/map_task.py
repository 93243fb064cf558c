"""Map: read, clean, filter, hash and tokenize one task into one part."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.cleaning.cleaner import Cleaner
from pipeline.config import PipelineConfig
from pipeline.dedup.minhash import ARRAY as SIGNATURES
from pipeline.dedup.minhash import signatures
from pipeline.encode import Encoder
from pipeline.filters.chain import FilterChain
from pipeline.part_store import PartStore
from pipeline.parts import DOCUMENT, PartWriter, Summary, count
from pipeline.plan import limits
from pipeline.rejects import RejectedDocuments
from pipeline.sources.base import Batch, Reading, Task
from pipeline.sources.registry import source_for
from pipeline.token_counts import ContentCounter
from tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class MapSetup:
    """What a worker needs to know, sent to it once."""

    config: PipelineConfig
    tokenizer: Path
    store: PartStore
    engine_factory: str | None


@dataclass(frozen=True)
class Mapped:
    """A part that was made: fingerprint of its counters, and the engine that encoded it."""

    checksum: str
    engine: str


class Mapper:
    """Maps tasks one after the other, in one process."""

    def __init__(self, setup: MapSetup) -> None:
        self._config = setup.config
        self._store = setup.store
        self._encoder = Encoder(Tokenizer.load(setup.tokenizer), setup.engine_factory)

    def run(self, task: Task, progress: Callable[[int], None], reading: Reading | None = None) -> Mapped:
        """Make and commit the part of `task`; `progress` is told the input bytes read since its last call.

        With `reading` its batches are mapped instead of the task's own: a sample, records that were read already.
        """
        writer = self._store.writer(task.key, self._encoder.dtype)
        try:
            writer.commit(_TaskRun(task, self._config, self._encoder, writer, progress).run(reading))
        except BaseException:
            writer.abandon()
            raise
        checksum = self._store.part(task.key).checksum()
        self._store.share(task.key)
        return Mapped(checksum, self._encoder.name)


class _TaskRun:
    """The state of one task: counters and the clock of each step."""

    def __init__(
        self,
        task: Task,
        config: PipelineConfig,
        encoder: Encoder,
        writer: PartWriter,
        progress: Callable[[int], None],
    ) -> None:
        self._task, self._config = task, config
        self._encoder, self._writer, self._progress = encoder, writer, progress
        self._cleaner = Cleaner(config)
        self._filters = FilterChain(config)
        self._counter = ContentCounter(encoder.vocab_size)
        self._rejected = RejectedDocuments(config.rejected_samples, writer)
        self._summary = Summary(engine=encoder.name)
        self._left = task.max_records
        self._clock = time.perf_counter()

    def run(self, reading: Reading | None) -> Summary:
        summary, task = self._summary, self._task
        reading = reading or source_for(task.path, task.options).open(task, limits(self._config))
        done = 0
        for batch in reading:
            batch = self._cut(batch)
            if self._left == 0:
                reading.stop()
            self._tick("read")
            self._process(batch)
            self._progress(reading.position - done)
            done = reading.position
        self._progress(task.bytes - done)
        summary.newlines, summary.digests, summary.damage = reading.newlines, reading.digests, reading.damage
        summary.cleaned = dict(self._cleaner.changed)
        self._counter.store(self._writer)
        self._rejected.finish()
        return summary

    def _tick(self, step: str) -> None:
        now = time.perf_counter()
        self._summary.seconds[step] = self._summary.seconds.get(step, 0.0) + now - self._clock
        self._clock = now

    def _cut(self, batch: Batch) -> Batch:
        """Only the records up to `max_records`, in input order."""
        if self._left is None:
            return batch
        batch = batch.first(self._left)
        self._left -= batch.records
        return batch

    def _process(self, batch: Batch) -> None:
        summary = self._summary
        for bad in batch.bad:
            count(summary.quarantined, bad.reason, bad.size)
            self._writer.quarantine(bad)
        extracted = [len(text) for text in batch.texts]
        summary.extracted_bytes += sum(extracted)
        texts = self._cleaner.clean(batch.texts)
        self._tick("clean")
        kept, data = self._filter(batch, texts, extracted)
        self._tick("filter")
        hashes = np.frombuffer(b"".join([hashlib.sha256(text).digest()[:16] for text in data]), "V16")
        self._tick("hash")
        if kept:
            tokens, lengths = self._encoder.encode(data, hashes)
            self._tick("tokenize")
            documents = np.zeros(len(kept), DOCUMENT)
            documents["offset"] = [batch.offsets[place] for place in kept]
            documents["label"] = [batch.labels[place] for place in kept]
            documents["content_hash"] = hashes
            documents["tokens"] = lengths
            documents["extracted_bytes"] = [extracted[place] for place in kept]
            documents["text_bytes"] = [len(text) for text in data]
            self._writer.add(tokens, documents)
            self._tick("write")
            if self._config.near_dedup:
                self._writer.add_array(SIGNATURES, signatures(data, self._config))
                self._tick("signatures")
            self._counter.add(data, hashes, tokens)
            self._tick("count")

    def _filter(self, batch: Batch, texts: list[bytes], extracted: list[int]) -> tuple[list[int], list[bytes]]:
        """Places and final texts of the documents that pass; the others are counted, and some kept as examples."""
        verdicts = self._filters.judge(texts)
        rejected = self._summary.rejected
        for place, reason in sorted(verdicts.dropped.items()):
            count(rejected, reason, extracted[place])
            self._rejected.add(batch.offsets[place], batch.lines[place], reason, texts[place])
        kept = [place for place in range(len(texts)) if place not in verdicts.dropped]
        return kept, [verdicts.rewritten.get(place, texts[place]) for place in kept]
