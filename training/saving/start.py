"""Where a run begins: afresh, at the newest checkpoint of its directory, or at a named one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.logs import get_logger
from training.config import TrainFlags, TrainingConfig
from training.devices.distributed import World
from training.saving import checkpoint
from training.saving.model_output import saved_step
from training.saving.resume import find_checkpoint
from training.saving.run_directory import RunDirectory

log = get_logger("training")


@dataclass(frozen=True)
class Start:
    """A checkpoint's content and path, or neither for a fresh run."""

    content: dict[str, Any] | None = None
    path: Path | None = None

    @property
    def fresh(self) -> bool:
        """Whether the run begins anew."""
        return self.path is None

    def without_content(self) -> Start:
        """The same without what takes memory, for when it is restored."""
        return Start(path=self.path)


def find_start(
    directory: RunDirectory, training: TrainingConfig, flags: TrainFlags, world: World, stack: ExitStack
) -> Start:
    """Lock the run directory until `stack` closes, tidy it, and decide where to begin. Changes no result of a
    run.

    Rank 0 decides and the others follow, reading the same file: with several machines the run directory must
    be on storage that all of them see. `UserError` for an existing run without --resume or --overwrite, no
    usable checkpoint, a checkpoint of another directory while this one holds a run, models here that no
    checkpoint continues, or one of them as what a fresh run starts from.
    """
    start, error = Start(), None
    if world.is_main:
        try:
            stack.enter_context(directory.lock())
            directory.tidy()
            start = _decide(directory, training, flags)
        except (UserError, OSError) as problem:
            error = problem
    failed, path = world.same_everywhere((error is not None, start.path))
    if error is not None:
        raise error
    if failed:
        raise SystemExit(2)  # rank 0 says why
    if not world.is_main and path is not None:
        return Start(checkpoint.load(path), path)
    return start


def _decide(directory: RunDirectory, training: TrainingConfig, flags: TrainFlags) -> Start:
    if flags.resume_from is not None:
        if not is_of_run(flags.resume_from, directory.path):
            directory.refuse_existing()
            log.info("%s is continued in %s", flags.resume_from, directory.path)
        return Start(*find_checkpoint(flags.resume_from))
    if flags.resume and any(True for _ in checkpoint.candidates(directory.newest)):
        return Start(*find_checkpoint(directory.newest))
    if training.init_from is not None and directory.owns(training.init_from):
        raise UserError(
            f"{training.init_from}: the run would start from a model of the run it replaces in {directory.path}, and "
            "remove it; choose another --out_dir"
        )
    if flags.resume:
        _refuse_lost_checkpoints(directory, training.save_interval)
        log.info("%s: no checkpoint yet; starting afresh", directory.path)
    elif not flags.overwrite:
        directory.refuse_existing()
    return Start()


def _refuse_lost_checkpoints(directory: RunDirectory, save_interval: int) -> None:
    """`UserError` when models here tell of checkpoints that are gone: starting afresh would remove the models too.

    A run that ended before its first save has neither: no final model, and its best one is of the first save's step
    at the latest, because a run writes one after the other.
    """
    best = saved_step(directory.best)
    if directory.final.exists() or (best is not None and best > save_interval):
        model = directory.final if directory.final.exists() else directory.best
        raise UserError(
            f"{model}: a model, but no checkpoint of its run to resume from. Put the checkpoints back, replace "
            "the run with --overwrite instead of --resume, or choose another --out_dir"
        )


def is_of_run(path: Path, directory: Path) -> bool:
    """Whether the checkpoint `path` is one of the run in `directory`."""
    return checkpoint.run_of(path).resolve() == directory.resolve()
