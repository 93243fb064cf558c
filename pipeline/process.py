"""`python -m pipeline.process`: raw text to a token dataset. Stages: tokenizer, plan, map, publish."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from foundation import atomic, fingerprint
from foundation.cli import run
from foundation.config import load_config
from foundation.errors import UserError
from foundation.locks import DirectoryLock
from foundation.logs import get_logger, setup
from pipeline import default_corpus
from pipeline.byproducts import write_byproducts
from pipeline.config import PipelineConfig, ProcessFlags
from pipeline.decide import check_bad_records, decide
from pipeline.encode import FAST_ENGINE, REFERENCE
from pipeline.executors.base import Outcome
from pipeline.executors.local import WorkerPool
from pipeline.journal import Journal
from pipeline.map_task import MapSetup
from pipeline.plan import identify, make_plan
from pipeline.publish import build_manifest, commit, input_entries, remove_unnamed, write_shards
from pipeline.settings.inputs import DEFAULT_INPUT
from pipeline.sources.base import InputFile, Task
from pipeline.sources.registry import find_inputs
from pipeline.summary import summary
from pipeline.tokenizer_stage import choose_engine, prepare_tokenizer
from pipeline.work import Work, lock_path
from shards.manifest import FILE_NAME, TOKENIZER_DIRECTORY, Manifest
from shards.megatron import token_dtype
from tokenization.tokenizer import Tokenizer

log = get_logger("pipeline")


@dataclass(frozen=True)
class Result:
    """The published dataset, and whether this run changed it."""

    manifest: Manifest
    changed: bool


def process(
    config: PipelineConfig, resume: bool = False, overwrite: bool = False, engine_factory: str = FAST_ENGINE
) -> Result:
    """Make, continue or update the dataset `config.output`. Raises `UserError` when it must not or cannot be done."""
    inputs = find_inputs(config)
    settings = config.settings()
    given = Tokenizer.load(config.tokenizer) if config.tokenizer else None
    settings["tokenizer"] = given.fingerprint if given else "trained"
    work = Work(config, settings)
    with DirectoryLock(lock_path(config.output), f"making {config.output.name}"):
        atomic.recover_directory(config.output / TOKENIZER_DIRECTORY)
        existing = _check_existing(config, settings, work, resume, overwrite)
        if overwrite:
            work.discard()
        return _Run(config, settings, inputs, work, engine_factory, existing if resume else None, given).run()


def _check_existing(
    config: PipelineConfig, settings: dict[str, Any], work: Work, resume: bool, overwrite: bool
) -> Manifest | None:
    """The published dataset, if any. Refuses what would touch it, or half-done work, unasked."""
    output = config.output
    published = (output / FILE_NAME).exists()
    if overwrite:
        return None
    if not resume:
        if published:
            raise UserError(
                f"{output}: a dataset is already there. --resume updates it with new input, --overwrite makes it anew"
            )
        if work.exists():
            raise UserError(
                f"{output}: half-done work for it is in {work.directory}. --resume goes on with it,"
                " --overwrite starts anew"
            )
        if output.exists() and any(output.iterdir()):
            raise UserError(
                f"{output}: the directory is not empty and holds no dataset. Choose another --output, or let"
                " --overwrite or --resume put the dataset into it"
            )
    manifest = Manifest.load(output) if published else None
    if manifest and manifest.pipeline_fingerprint != fingerprint.of_json(settings):
        raise UserError(
            f"{output}: the dataset there was made with other settings: {_difference(manifest.settings, settings)}."
            " --overwrite makes it anew with the new ones; another --output keeps both"
        )
    return manifest


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} {old.get(key)!r}, now {new.get(key)!r}" for key in keys)


class _Run:
    """One run, under the dataset's lock."""

    def __init__(
        self,
        config: PipelineConfig,
        settings: dict[str, Any],
        inputs: list[InputFile],
        work: Work,
        engine_factory: str,
        existing: Manifest | None,
        given: Tokenizer | None,
    ) -> None:
        self._config, self._settings, self._inputs, self._work = config, settings, inputs, work
        self._factory, self._existing, self._given = engine_factory, existing, given
        self._seconds: dict[str, float] = {}

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[step] = time.perf_counter() - started

    def run(self) -> Result:
        config, work = self._config, self._work
        with self._timed("plan"):
            tasks = make_plan(self._inputs, config)
            journal = work.open()
        setup(work.log)
        pending = [task for task in tasks if not work.is_done(task, journal)]
        if self._existing is not None and not pending and self._describes_inputs(self._existing, journal):
            return Result(self._existing, changed=False)
        with WorkerPool(min(config.worker_count(), len(pending))) as pool:
            with self._timed("tokenizer"):
                frozen = Tokenizer.load(config.output / TOKENIZER_DIRECTORY) if self._existing else None
                tokenizer = prepare_tokenizer(config, tasks, work.tokenizer, self._given or frozen)
                factory = None if journal.reference_reason else choose_engine(config, tokenizer, self._factory)
            with self._timed("map"):
                mismatch = self._map(pool, tasks, pending, journal, factory)
        if mismatch is not None:
            log.warning(
                "the fast tokenizer is wrong on %r; encoding this dataset with the reference engine instead", mismatch
            )
            journal.append("engine", engine=REFERENCE, reason=mismatch)
            return self.run()
        manifest = self._publish(tasks, journal, tokenizer)
        return Result(manifest, changed=True)

    def _describes_inputs(self, existing: Manifest, journal: Journal) -> bool:
        """Whether the published dataset was finished by this work, from these very inputs."""
        names = [(file.name, identify(file.path).size) for file in self._inputs]
        return journal.published == existing.identity and names == [(e.name, e.bytes) for e in existing.inputs]

    def _map(
        self, pool: WorkerPool, tasks: list[Task], pending: list[Task], journal: Journal, factory: str | None
    ) -> str | None:
        """Map the `pending` of all `tasks`; the text on which the fast engine was found wrong, or None."""
        config, work = self._config, self._work
        total = sum(task.bytes for task in tasks)
        left = sum(task.bytes for task in pending)
        if len(pending) < len(tasks):
            log.info("resuming: %d of %d tasks are done", len(tasks) - len(pending), len(tasks))
        with tqdm(total=total, initial=total - left, unit="B", unit_scale=True, desc="map") as bar:

            def done(task: Task) -> None:
                part = work.part(task)
                engine = part.summary().engine
                journal.append("part", key=task.key, checksum=part.checksum(), engine=engine)

            setup_ = MapSetup(config, work.tokenizer, work.parts, factory)
            try:
                outcome = pool.run(setup_, pending, done, bar.update)
            finally:
                pool.stop()
                atomic.remove_temporaries(work.parts)  # of workers that were stopped in the middle
        if outcome.mismatch is None:
            self._refuse_incomplete(outcome)
        return outcome.mismatch

    def _refuse_incomplete(self, outcome: Outcome) -> None:
        problems = [f"{path}: changed while it was read" for path in sorted(outcome.changed)]
        problems += [f"{task.label}: {reason}" for task, reason in outcome.failed]
        if problems:
            raise UserError(
                "\n  ".join(["nothing was published, because parts of the input are missing:", *problems])
                + "\nRun the same command with --resume to try these again; the rest is done"
            )

    def _publish(self, tasks: list[Task], journal: Journal, tokenizer: Tokenizer) -> Manifest:
        config = self._config
        sources = [task.source for task in tasks]
        with self._timed("decide"):
            decisions = decide(config, [self._work.part(task) for task in tasks], sources)
            check_bad_records(config, decisions.summaries)
            kept = int(sum((splits >= 0).sum() for splits in decisions.splits))
            if not kept:
                raise UserError(f"{config.output}: no document is left to publish; see {self._work.directory}")
        with self._timed("publish"):
            entries = input_entries(self._inputs, tasks, [s.digests for s in decisions.summaries])
            total = sum(int(d["tokens"].sum()) for d in decisions.documents)
            dtype = token_dtype(tokenizer.vocab_size)
            with tqdm(total=total, unit="tok", unit_scale=True, desc="publish") as bar:
                splits = write_shards(config, decisions, sources, dtype, bar.update)
            manifest = build_manifest(config, self._settings, tokenizer, entries, splits)
            commit(config.output, manifest, tokenizer)
        with self._timed("statistics"):
            write_byproducts(config.output, manifest, decisions, tasks, config.rejected_samples)
            remove_unnamed(config.output, manifest)
            journal.append("published", identity=manifest.identity)
        for part in decisions.summaries:
            for step, seconds in part.seconds.items():
                self._seconds[f"map/{step}"] = self._seconds.get(f"map/{step}", 0.0) + seconds
        self._work.add_timings(self._seconds)
        for task, part in zip(tasks, decisions.summaries, strict=True):
            if part.damage:
                log.warning("%s: damaged, read up to the damage (%s)", task.path, part.damage)
        return manifest


def main(argv: list[str]) -> int:
    """The command."""
    loaded = load_config(
        "python -m pipeline.process",
        "Turn raw text into a token dataset: clean, filter, deduplicate, tokenize. Resumable at any moment.",
        {"pipeline": PipelineConfig},
        ProcessFlags,
        argv,
    )
    config, flags = loaded.get(PipelineConfig), loaded.get(ProcessFlags)
    setup()
    if config.input == [DEFAULT_INPUT] and not Path(DEFAULT_INPUT).is_dir():
        log.info("%s is not there; collecting the text that this Python installation holds", DEFAULT_INPUT)
        default_corpus.collect(Path(DEFAULT_INPUT))
    result = process(config, flags.resume, flags.overwrite)
    print(summary(config.output, result.manifest, result.changed))
    return 0


if __name__ == "__main__":
    run(main)
