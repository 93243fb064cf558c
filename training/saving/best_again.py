"""best/ of a run that goes on: the model that its checkpoint calls the best, or else that of the next validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.logs import get_logger
from model.checkpoint_file import DamagedCheckpoint
from training.parts import Parts
from training.saving import checkpoint
from training.saving.model_card import model_card
from training.saving.model_output import save_model, saved_step
from training.state import RunState

log = get_logger("training")


def bring_best_back(parts: Parts, state: RunState, origin: Path) -> None:
    """Make best/ the model of `state.best`, of a run that goes on from the checkpoint `origin`. Every rank calls it.

    A new directory has no best/, and after a step back it is of a step that this run has not reached. It is written
    again from the checkpoint of its step; where that is gone, the next validation is the best one.
    """
    if state.best is None or parts.validation is None:
        return
    is_there = parts.world.is_main and _is_there(parts, state, state.best, origin)
    if not parts.world.same_everywhere(is_there):
        state.best = None


def _is_there(parts: Parts, state: RunState, best: Mapping[str, Any], origin: Path) -> bool:
    """Whether best/ is the model of `best`, perhaps because it is written now."""
    directory, step = parts.directory, best["step"]
    lying = saved_step(directory.best)
    if lying == step or _killed_after(lying, state.step, checkpoint.saved_steps(directory.path)):
        return True
    runs = dict.fromkeys((directory.path, checkpoint.run_of(origin)))
    paths = [checkpoint.step_path(run, step) for run in runs] + [origin] * (state.step == step)
    for path in filter(Path.is_file, paths):
        try:
            content = checkpoint.load(path)
        except DamagedCheckpoint as error:
            log.warning("skipped: %s", error)
            continue
        if content.get("best") == best and "mateconv" in content:
            save_model(directory.best, content, parts.task.data, model_card(parts, RunState(**content["state"])))
            log.info("%s is written again from %s", directory.best, path)
            return True
    log.warning("%s: there is no checkpoint of it; the next validation writes best/", state.best_in_words)
    return False


def _killed_after(lying: int | None, step: int, saved: list[int]) -> bool:
    """Whether best/, of the step `lying`, was the last that a run wrote behind its newest checkpoint, of `step`: the
    run comes there again, and finds it better again."""
    return lying is not None and lying > step and saved[-1:] == [step]
