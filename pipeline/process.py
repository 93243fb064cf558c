"""`python -m pipeline.process`: raw text to a token dataset. Stages: tokenizer, plan, map, publish."""

from __future__ import annotations

import os

from pipeline.executors import starting

if __name__ == "__main__":
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # NumPy's own threads, which nothing here uses, spin at the start
    starting.prepare()  # the workers' libraries load on another core while this process loads its own

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation import fingerprint
from foundation.cli import run
from foundation.config import load_config
from foundation.errors import UserError
from foundation.interrupts import tidy_stop
from foundation.locks import DirectoryLock
from foundation.logs import get_logger, setup
from foundation.page.wording import differences
from pipeline.config import PipelineConfig, ProcessFlags
from pipeline.mapping.encode import FAST_ENGINE
from pipeline.mapping.versions import told
from pipeline.plan import make_plan, plan_fingerprint
from pipeline.publishing.target import LocalTarget, RemoteTarget, Target
from pipeline.settings.inputs import DEFAULT_INPUT
from pipeline.sources.base import InputFile
from pipeline.sources.find import check_apart, find_inputs
from pipeline.sources.staging import stage
from pipeline.workspace.area import WHOLE, Work
from pipeline.workspace.place import place_of
from pipeline.workspace.work_of import work_of
from shards.manifest import Manifest
from tokenization.roles import changed
from tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pipeline.dedup.decontaminate import Evaluation

log = get_logger("pipeline")


@dataclass(frozen=True)
class Result:
    """The published dataset (None after a slice), where its files are on this machine, whether this run changed it."""

    manifest: Manifest | None
    directory: Path
    changed: bool


def process(
    config: PipelineConfig,
    resume: bool = False,
    overwrite: bool = False,
    engine_factory: str = FAST_ENGINE,
    inputs: list[InputFile] | None = None,
) -> Result:
    """Make, continue or update the dataset `config.output`, from `inputs` where these were found already.

    Raises `UserError` when it must not or cannot be done.
    """
    place, share = place_of(config), config.share()
    if share and overwrite:
        raise UserError("--overwrite with --task_slice would throw away the other slices' work; give only one of them")
    inputs = find_inputs(config) if inputs is None else inputs
    given = Tokenizer.load(config.tokenizer) if config.tokenizer else None
    evaluation = _evaluation(config)
    settings = _settings(config, given, evaluation)
    place.check_writable()
    check_apart(inputs, place.shown)
    work = work_of(place, settings, WHOLE if share is None else f"{share[0] + 1}-of-{share[1]}")
    target = LocalTarget(place.output) if place.output else RemoteTarget(place.shown, work.staged)
    with (
        DirectoryLock(place.lock, f"making {place.name}", shared=share is not None),
        nullcontext() if share is None else work.lock(),
    ):
        existing = _check_existing(place.shown, target, settings, work, resume or share is not None, overwrite)
        if existing and given:
            _check_roles(place.shown, existing, given)
        if overwrite:
            work.discard()
        inputs = stage(inputs, work.directory / "inputs")
        tasks = make_plan(inputs, config)
        plan = plan_fingerprint(inputs, tasks)
        work.open()
        if evaluation is not None:
            evaluation.store(work.directory)
        differ = told(existing.versions, work.versions) if existing else ""
        if existing and not differ and work.has_published(existing.identity, plan):
            target.fetch_statistics()
            return Result(existing, target.directory, changed=False)
        setup(work.log)
        if differ:
            log.warning("%s: made with other versions (%s); making all of it anew", place.shown, differ)
        starting.prepare()
        from pipeline.run import Run  # what a finished dataset need not wait for
        from pipeline.setup import Setup

        run = Run(
            Setup(
                config.model_copy(update={"output": target.directory}),
                settings, inputs, work, target, engine_factory, existing, given,
            ), tasks, plan,
        )  # fmt: skip
        if share is None:
            return Result(run.publish(), target.directory, changed=True)
        unique = list({task.key: task for task in tasks}.values())  # no part is made by two slices at once
        run.map_slice(unique[share[0] :: share[1]])
        return Result(None, target.directory, changed=True)


def _settings(config: PipelineConfig, given: Tokenizer | None, evaluation: Evaluation | None) -> dict[str, Any]:
    """What decides the dataset's content, as its manifest tells it."""
    settings = config.settings() | {"tokenizer": given.fingerprint if given else "trained"}
    return settings if evaluation is None else settings | {"decontaminate": [evaluation.fingerprint]}


def _evaluation(config: PipelineConfig) -> Evaluation | None:
    """The evaluation set to decontaminate from."""
    if not config.decontaminate:
        return None
    from pipeline.dedup.decontaminate import read_evaluation

    return read_evaluation(config)


def _check_existing(
    shown: str, target: Target, settings: dict[str, Any], work: Work, resume: bool, overwrite: bool
) -> Manifest | None:
    """The published dataset, if any. Refuses what would touch it, or half-done work, unasked."""
    if overwrite:
        return None
    manifest = target.manifest()
    if not resume:
        if manifest:
            raise UserError(
                f"{shown}: a dataset is already there. --resume updates it with new input, --overwrite makes it anew"
            )
        if work.exists():
            raise UserError(
                f"{shown}: half-done work for it is in {work.shown}. --resume goes on with it, --overwrite starts anew"
            )
        if target.holds_files():
            raise UserError(
                f"{shown}: the directory is not empty and holds no dataset. Choose another --output, or let"
                " --overwrite or --resume put the dataset into it"
            )
    if manifest is None and not work.exists() and (names := target.in_the_way()):
        shown_names = ", ".join(names[:3]) + (", …" if names[3:] else "")
        raise UserError(
            f"{shown}: holds no dataset, but {shown_names}, which a dataset would replace. Choose another --output,"
            " move what is there, or let --overwrite replace it"
        )
    if manifest and manifest.pipeline_fingerprint != fingerprint.of_json(settings):
        told_settings = differences(manifest.settings, settings, (None, None), repr)
        raise UserError(
            f"{shown}: the dataset there was made with other settings: {told_settings}."
            " --overwrite makes it anew with the new ones; another --output keeps both"
        )
    return manifest


def _check_roles(shown: str, manifest: Manifest, tokenizer: Tokenizer) -> None:
    """The roles of special tokens may come from another file than the one that a tokenizer is known by."""
    made = {name: entry.id for name, entry in manifest.roles.items()}
    if roles := changed(made, tokenizer.roles.present()):
        raise UserError(
            f"{shown}: the tokenizer's special tokens have other roles than when the dataset there was made: {roles}."
            " --overwrite makes it anew; another --output keeps both"
        )


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
    if flags.dry_run:
        return _try(config)
    if config.input == [DEFAULT_INPUT] and not Path(DEFAULT_INPUT).is_dir():
        from pipeline import default_corpus

        log.info("%s is not there; collecting the text that this Python installation holds", DEFAULT_INPUT)
        default_corpus.collect(Path(DEFAULT_INPUT))
    with tidy_stop("what is done is kept; the same command with --resume goes on"):
        result = process(config, flags.resume, flags.overwrite)
    if result.manifest is None:
        print(f"slice {config.task_slice} is done; when all are, the same command without it, with --resume, publishes")
    else:
        from pipeline.summary import summary

        print(summary(place_of(config).shown, result.directory, result.manifest, result.changed))
    return 0


def _try(config: PipelineConfig) -> int:
    from pipeline.preview.dry_run import dry_run
    from pipeline.preview.text import told

    with tidy_stop("nothing was written"):
        print("\n".join(told(dry_run(config), config)))
    return 0


if __name__ == "__main__":
    run(main)
