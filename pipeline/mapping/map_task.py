"""Map: read, clean, filter, hash and encode one task into one part."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from pipeline.cleaning.cleaner import Cleaner
from pipeline.cleaning.conversations import clean_conversations
from pipeline.dedup.minhash import ARRAY as SIGNATURES
from pipeline.dedup.minhash import signatures
from pipeline.dedup.normalized import ARRAY as NORMALIZED
from pipeline.dedup.normalized import normalized_hashes
from pipeline.filters.base import DocumentError
from pipeline.filters.chain import FilterChain
from pipeline.mapping.encode import Encoder
from pipeline.mapping.rejects import RejectedDocuments
from pipeline.mapping.setup import Mapped, MapSetup
from pipeline.mapping.structured import Encoded, StructuredEncoder
from pipeline.mapping.token_lengths import TokenLengths, select
from pipeline.mapping.versions import versions
from pipeline.plan import limits
from pipeline.sources.base import Batch, Conversation, Reading, Task
from pipeline.sources.registry import source_for
from pipeline.statistics.token_counts import ContentCounter
from pipeline.workspace.parts import DOCUMENT, PartWriter, Summary, count
from tokenization.tokenizer import Tokenizer


class Mapper:
    """Maps tasks one after the other, in one process."""

    def __init__(self, setup: MapSetup) -> None:
        self.config = setup.config
        self._store = setup.store
        tokenizer = Tokenizer.load(setup.tokenizer)
        self.encoder = Encoder(tokenizer, setup.engine_factory)
        self.structured = StructuredEncoder(tokenizer, self.encoder, self.config.sentence_borders)
        terminator = len(tokenizer.roles.terminator)
        self.filters = FilterChain(self.config, setup.store.directory.parent)
        self.versions = versions(self.config.settings())
        self.lengths = TokenLengths(self.config.min_tokens, self.config.max_tokens, terminator)

    def run(self, task: Task, progress: Callable[[int], None], reading: Reading | None = None) -> Mapped:
        """Make and commit the part of `task`; `progress` is told the input bytes read since its last call.

        With `reading` its batches are mapped instead of the task's own: a sample, records that were read already.
        """
        writer = self._store.writer(task.key, self.encoder.dtype)
        try:
            writer.commit(_TaskRun(self, task, writer, progress).run(reading))
        except BaseException:
            writer.abandon()
            raise
        checksum = self._store.part(task.key).checksum()
        self._store.share(task.key)
        return Mapped(checksum, self.encoder.name)


@dataclass
class _Documents:
    """Documents of a batch, as columns of which each place is one."""

    texts: list[bytes]
    conversations: list[Conversation] | None
    offsets: npt.NDArray[np.uint64]
    lines: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    extracted: npt.NDArray[np.int64]
    joined: bytes | None = None
    """The texts as cleaning left them in one buffer, for the filters."""

    def at(self, places: npt.NDArray[np.int64]) -> _Documents:
        """Those at `places`."""
        if len(places) == len(self.texts):
            return self
        chosen = places.tolist()
        return _Documents(
            [self.texts[place] for place in chosen],
            self.conversations and [self.conversations[place] for place in chosen],
            self.offsets[places], self.lines[places], self.labels[places], self.extracted[places],
        )  # fmt: skip


class _TaskRun:
    """The state of one task: counters and the clock of each step."""

    def __init__(self, mapper: Mapper, task: Task, writer: PartWriter, progress: Callable[[int], None]) -> None:
        config = mapper.config
        self._mapper, self._config, self._task = mapper, config, task
        self._writer, self._progress = writer, progress
        self._cleaner = Cleaner(config)
        self._counter = ContentCounter(mapper.encoder.vocab_size)
        self._rejected = RejectedDocuments(config.rejected_samples, writer)
        self._summary = Summary(engine=mapper.encoder.name, versions=mapper.versions)
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
        for bad in batch.bad:
            count(self._summary.quarantined, bad.reason, bad.size)
            self._writer.quarantine(bad)
        if not batch.texts:
            return
        documents = self._clean(batch)
        self._tick("clean")
        documents = self._filter(documents)
        self._tick("filter")
        if not documents.texts:
            return
        digests = b"".join([hashlib.sha256(text).digest() for text in documents.texts])
        hashes = np.frombuffer(digests, "V16")[::2].copy()  # the first half of each
        self._tick("hash")
        encoded = self._mapper.structured.encode(documents.texts, hashes, documents.conversations)
        dropped = self._mapper.lengths.judge(encoded.lengths)
        if dropped:
            chosen = self._reject(documents, dropped)
            documents, hashes, encoded = documents.at(np.flatnonzero(chosen)), hashes[chosen], select(encoded, chosen)
        self._tick("tokenize")
        if documents.texts:
            self._store(documents, hashes, encoded)

    def _clean(self, batch: Batch) -> _Documents:
        """The documents with their texts cleaned; of conversations each content by itself."""
        extracted = np.fromiter(map(len, batch.texts), np.int64, len(batch.texts))
        self._summary.extracted_bytes += int(extracted.sum())
        joined = None
        if batch.conversations is None:
            cleaned = self._cleaner.clean_batch(batch.texts)
            texts, conversations, joined = cleaned.texts, None, cleaned.joined
        else:
            texts, conversations = clean_conversations(self._cleaner, batch.texts, batch.conversations)
        columns = (np.array(batch.offsets, np.uint64), np.array(batch.lines), np.array(batch.labels))
        return _Documents(texts, conversations, *columns, extracted, joined)

    def _filter(self, documents: _Documents) -> _Documents:
        """The documents that pass, some of them rewritten."""
        try:
            verdicts = self._mapper.filters.judge(documents.texts, documents.conversations, documents.joined)
        except DocumentError as error:
            offset = documents.offsets[error.place]
            raise UserError(f"{self._task.path}: the record at {offset}: {error}") from error
        for place, text in verdicts.rewritten.items():
            documents.texts[place] = text
        if not verdicts.dropped:
            return documents
        return documents.at(np.flatnonzero(self._reject(documents, verdicts.dropped)))

    def _reject(self, documents: _Documents, dropped: dict[int, str]) -> npt.NDArray[np.bool_]:
        """Count the documents that are `dropped` (place -> reason), keep some as examples; which others stay, (n,)."""
        chosen = np.ones(len(documents.texts), np.bool_)
        for place, reason in sorted(dropped.items()):
            chosen[place] = False
            count(self._summary.rejected, reason, int(documents.extracted[place]))
            where = int(documents.offsets[place]), int(documents.lines[place])
            self._rejected.add(*where, reason, documents.texts[place])
        return chosen

    def _store(self, documents: _Documents, hashes: npt.NDArray[np.void], encoded: Encoded) -> None:
        """Write what the part keeps of the documents."""
        records = np.zeros(len(documents.texts), DOCUMENT)
        records["offset"], records["label"] = documents.offsets, documents.labels
        records["content_hash"], records["tokens"] = hashes, encoded.lengths
        records["extracted_bytes"] = documents.extracted
        records["text_bytes"] = np.fromiter(map(len, documents.texts), np.int64, len(records))
        for name, rows in encoded.extras.items():
            rows["document"] += self._writer.documents
            self._writer.add_array(name, rows)
        self._writer.add(encoded.tokens, records)
        self._tick("write")
        self._sign(documents.texts)
        self._counter.add(documents.texts, hashes, encoded.tokens)
        self._tick("count")

    def _sign(self, texts: list[bytes]) -> None:
        """Store what duplicates are found by, beyond the content hash."""
        if self._config.exact_dedup_normalized:
            self._writer.add_array(NORMALIZED, normalized_hashes(texts))
            self._tick("normalized hashes")
        if self._config.near_dedup:
            self._writer.add_array(SIGNATURES, signatures(texts, self._config))
            self._tick("signatures")
