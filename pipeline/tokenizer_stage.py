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
from pipeline.sources.base import Task
from pipeline.sources.registry import source_for
from tokenization.engines import audit
from tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pipeline.cleaning.cleaner import Cleaner
    from pipeline.filters.chain import FilterChain

log = get_logger("pipeline.tokenizer")

PIECE_CHARS = 16_384


def prepare_tokenizer(config: PipelineConfig, tasks: list[Task], place: Path, ready: Tokenizer | None) -> Tokenizer:
    """The tokenizer in `place`; when it is not there yet, `ready` (given, or frozen earlier) or a newly trained one."""
    if place.exists():
        return Tokenizer.load(place)
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
    """Cleaned documents from the start of every task, each task in proportion to its size: the same for every run."""
    from pipeline.cleaning.cleaner import Cleaner
    from pipeline.filters.chain import FilterChain

    cleaner, filters = Cleaner(config), FilterChain(config)
    total = sum(task.bytes for task in tasks)
    for task in tasks:
        # An archive holds more text than bytes, so its share of the budget is what it may give, not what it holds.
        budget = max(1, config.tokenizer_sample_bytes * task.bytes // max(1, total))
        yield from persistently(partial(_first_texts, config, task, budget, cleaner, filters))
        progress(task.bytes)


def _first_texts(config: PipelineConfig, task: Task, budget: int, cleaner: Cleaner, filters: FilterChain) -> list[str]:
    """The first documents of a task, about `budget` bytes of them, in short pieces."""
    found: list[str] = []
    left = task.max_records
    for batch in source_for(task.path, task.options).open(task, limits(config)):
        if left is not None:
            batch = batch.first(left)
            left -= batch.records
        texts = cleaner.clean(batch.texts)
        try:
            verdicts = filters.judge(texts, batch.conversations)
        except DocumentError as error:
            raise UserError(f"{task.path}: the record at {batch.offsets[error.place]}: {error}") from error
        for place, text in enumerate(texts):
            if budget > 0 and place not in verdicts.dropped:
                text = verdicts.rewritten.get(place, text)
                budget -= len(text)
                found += _short_pieces(text.decode())
        if budget <= 0 or left == 0:
            break  # no one needs the rest, not even its fingerprint
    return found


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
