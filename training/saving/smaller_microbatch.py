"""The microbatch that processes leave for the next start, when memory runs out where they cannot go on with less."""

from __future__ import annotations

import json
from pathlib import Path

from foundation import atomic
from foundation.logs import get_logger
from training.config import TrainFlags, TrainingConfig
from training.devices.distributed import World
from training.saving.run_directory import RunDirectory

log = get_logger("training")


def leave(directory: RunDirectory, training: TrainingConfig, microbatch: int) -> None:
    """Let the next start of these settings take at most `microbatch` sequences at a time. Any rank may call it."""
    try:
        atomic.write_text(directory.microbatch, json.dumps(_note(training, microbatch)) + "\n")
    except OSError as error:
        log.warning("%s: cannot be written (%s); name the smaller batch_size by hand", directory.microbatch, error)


def left(directory: RunDirectory, training: TrainingConfig, flags: TrainFlags, world: World) -> int | None:
    """The most sequences at a time that a start before this one left, on every rank; None where a run begins anew,
    where there was no such start, or where it was asked for another batch_size."""
    resumed = flags.resume or flags.resume_from is not None
    found = _read(directory.microbatch, training) if resumed and world.is_main else None
    microbatch: int | None = world.same_everywhere(found)
    return microbatch


def _note(training: TrainingConfig, microbatch: int) -> dict[str, int | None]:
    return {"batch_size": training.batch_size, "microbatch": microbatch}


def _read(path: Path, training: TrainingConfig) -> int | None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        microbatch = int(note["microbatch"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return microbatch if microbatch > 0 and note == _note(training, microbatch) else None
