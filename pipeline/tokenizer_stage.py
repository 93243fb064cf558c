"""The tokenizer stage: load the given tokenizer, or train one once and freeze it for later inputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from foundation import atomic
from foundation.errors import UserError
from foundation.logs import get_logger
from pipeline.config import PipelineConfig
from pipeline.filters.base import DocumentError
from pipeline.mapping.encode import FAST_ENGINE, WRONG_ON_PROBE, fast_engine
from pipeline.plan import limits, persistently
from pipeline.preview.sampling import places_in
from pipeline.sources.base import Batch, Task
from pipeline.sources.registry import source_for
from tokenization.engines import audit
from tokenization.roles import changed
from tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pipeline.cleaning.cleaner import Cleaner
    from pipeline.filters.chain import FilterChain

log = get_logger("pipeline.tokenizer")

PIECE_CHARS = 16_384
PLACES = 1024
"""The tasks that a sample is taken from, where there are more."""
LEAST_CLEANED = 1 << 14
"""Bytes of text that are cleaned at once at least: every batch has costs of its own."""


def prepare_tokenizer(config: PipelineConfig, tasks: list[Task], place: Path, ready: Tokenizer | None) -> Tokenizer:
    """The tokenizer in `place`; when it is not there yet, `ready` (given, or frozen earlier) or a newly trained one."""
    if place.exists():
        frozen = Tokenizer.load(place)
        if ready is not None and (roles := changed(frozen.roles.present(), ready.roles.present())):
            raise UserError(
                f"{config.tokenizer}: its special tokens have other roles than when this work began: {roles}."
                " --overwrite starts anew"
            )
        return frozen
    tokenizer = ready or _train(config, tasks)
    temporary = atomic.temporary_directory(place.parent, place.name)
    try:
        tokenizer.save(temporary)
        atomic.replace_directory(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return tokenizer


def choose_engine(config: PipelineConfig, tokenizer: Tokenizer, factory: str = FAST_ENGINE) -> str | None:
    """The fast engine's factory when it may be used: wanted, supported, and right on every probe."""
    if config.tokenizer_engine == "reference":
        return None
    engine = fast_engine(tokenizer, factory)
    if engine is None:
        return None
    wrong = audit.probe_mismatch(tokenizer, engine)
    if wrong is not None:
        log.warning(WRONG_ON_PROBE, engine.name, wrong.decode()[:80])
        return None
    return factory


def _train(config: PipelineConfig, tasks: list[Task]) -> Tokenizer:
    total = sum(task.bytes for task in tasks)
    with tqdm(total=total, unit="B", unit_scale=True, desc="tokenizer sample", leave=False) as bar:
        texts = list(_sample(config, tasks, bar.update))
    if not texts:
        raise UserError("no text left to train a tokenizer on: every record was empty, rejected or unreadable")
    from tokenization.train import train_tokenizer  # as in `_sample`: not loaded where a tokenizer is given

    size = sum(len(text.encode()) for text in texts)
    kind = config.tokenizer_kind
    log.info("training a %s tokenizer of %d tokens on %.1f MB of text", kind, config.vocab_size, size / 1e6)
    tokenizer = train_tokenizer(kind, texts, config.vocab_size, config.lowercase)
    if tokenizer.vocab_size < config.vocab_size:
        log.info("the text gives only %d tokens", tokenizer.vocab_size)
    return tokenizer


def _sample(config: PipelineConfig, tasks: list[Task], progress: Callable[[int], object]) -> Iterator[str]:
    """Cleaned documents from the start of the tasks that `_shares` names: the same for every run."""
    from pipeline.cleaning.cleaner import Cleaner
    from pipeline.filters.chain import FilterChain

    cleaner, filters = Cleaner(config), FilterChain(config)
    for task, budget, share in _shares(tasks, config.tokenizer_sample_bytes):
        yield from persistently(partial(_first_texts, config, task, budget, cleaner, filters))
        progress(share)


def _shares(tasks: list[Task], wanted: int) -> Iterator[tuple[Task, int, int]]:
    """Tasks to read, what each is to give of `wanted` bytes of text, and the bytes of input that it stands for.

    Every task in proportion to its size, as long as they are few or all of their text is wanted; else PLACES of them
    (more where it takes more to fill the sample), evenly spread: opening one and reading its first batch costs the same
    however little it is to give. An archive holds more text than bytes, so its share is what it may give.
    """
    total = sum(task.bytes for task in tasks)
    count = max(PLACES, -(-wanted * len(tasks) // max(1, total)))
    if len(tasks) <= count:
        for task in tasks:
            yield task, max(1, wanted * task.bytes // max(1, total)), task.bytes
        return
    for task, hits in zip(tasks, places_in(tasks, count).tolist(), strict=True):
        if hits:
            yield task, max(1, wanted * hits // count), total * hits // count


def _first_texts(config: PipelineConfig, task: Task, budget: int, cleaner: Cleaner, filters: FilterChain) -> list[str]:
    """The first documents of a task, about `budget` bytes of them, in short pieces."""
    found: list[str] = []
    left = task.max_records
    for batch in source_for(task.path, task.options).open(task, limits(config)):
        if left is not None:
            batch = batch.first(left)
            left -= batch.records
        first = 0
        while budget > 0 and first < len(batch.texts):
            last = _enough(batch.texts, first, budget)
            for text in _kept(cleaner, filters, task, batch, slice(first, last)):
                if budget > 0:
                    budget -= len(text)
                    found += _short_pieces(text.decode())
            first = last
        if budget <= 0 or left == 0:
            break  # no one needs the rest, not even its fingerprint
    return found


def _kept(cleaner: Cleaner, filters: FilterChain, task: Task, batch: Batch, part: slice) -> Iterator[bytes]:
    """The cleaned texts of a `part` of the batch, without the rejected ones."""
    texts = cleaner.clean(batch.texts[part])
    try:
        verdicts = filters.judge(texts, None if batch.conversations is None else batch.conversations[part])
    except DocumentError as error:
        offset = batch.offsets[part][error.place]
        raise UserError(f"{task.path}: the record at {offset}: {error}") from error
    for place, text in enumerate(texts):
        if place not in verdicts.dropped:
            yield verdicts.rewritten.get(place, text)


def _enough(texts: list[bytes], first: int, budget: int) -> int:
    """Where the texts from `first` on end that may leave `budget` bytes when some are rejected: one at least."""
    room = max(LEAST_CLEANED, budget + budget // 4)
    last = first
    while last < len(texts) and room > 0:
        room -= len(texts[last])
        last += 1
    return last


def _short_pieces(text: str) -> Iterator[str]:
    """The text in pieces of about PIECE_CHARS, cut at blanks where there are any: a trainer takes far more memory
    for one long text than for many short ones."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        end = text.find(" ", start + PIECE_CHARS, start + 2 * PIECE_CHARS)
        end = end if end > 0 else start + PIECE_CHARS
        yield text[start:end]
        start = end
    yield text[start:]
