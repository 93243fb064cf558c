"""What to type to go on with a run: after a stop, and to train longer than it was asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from foundation.circumstances import retyped
from training.config import TrainingConfig
from training.evaluation.early_stopping import stopped_early, why
from training.state import RunState

OTHER_STARTS = ("resume", "resume_from", "overwrite", "dry_run")
"""Flags that --resume takes the place of."""


def to_continue(flag: str = "", value: str = "") -> str:
    """The command that goes on with the run of this process: as it was typed, with --resume, and with `--flag value` in
    place of that flag. In words where this process has not seen the command: torchrun's, or another program's."""
    more = [f"--{flag}", value] if flag else []
    if "RANK" in os.environ:
        return " ".join(["the same torchrun command with --resume", *more, *_in_the_way()])
    if Path(sys.argv[0]).name != "train.py":
        return " ".join(["the same settings with --resume", *more])
    return retyped(sys.orig_argv, {*OTHER_STARTS, flag}, ["--resume", *more])


def _in_the_way() -> list[str]:
    """`and without --overwrite`, where that was typed."""
    typed = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in sys.argv if word.startswith("--")}
    return [f"and without --{name}" for name in OTHER_STARTS[1:] if name in typed]


def stopped(state: RunState, steps: str, saved: Path | None) -> str:
    """What a run of `steps` that was asked to stop tells its owner; None: its weights were not worth saving."""
    done = f"and saved {saved}" if saved else "whose weights are not finite, and left the checkpoints before it alone"
    return f"stopped at step {state.step} of {steps} {done}; continue with: {to_continue()}"


def longer(directory: Path, config: TrainingConfig, state: RunState, chained: bool) -> str:
    """What a finished run tells its owner; `chained`: the run is a stage of several."""
    early = stopped_early(config, state)
    flag, value = ("patience", str(2 * config.patience)) if early else _more(config, state)
    # On the command line it would be the length of all stages.
    command = f"{flag} {value} in this stage of the file, and {to_continue()}" if chained else to_continue(flag, value)
    if early:
        off = "early_stopping false" if chained else "--early_stopping false"
        return f"{directory}: this run {why(config, state)}. To train on: {command} (or {off})"
    best = f", {state.best_in_words}" if state.best else ""
    done = f"{state.step} steps, {state.tokens:,} tokens{best}"
    return f"{directory}: this run is finished ({done}). To train longer: {command}"


def _more(config: TrainingConfig, state: RunState) -> tuple[str, str]:
    """The setting that doubles the run, and its value."""
    if config.time_budget is not None:
        return "time_budget", f"{2 * max(state.elapsed, config.time_budget):.0f}s"
    if config.max_tokens is not None:
        return "max_tokens", str(2 * max(state.tokens, config.max_tokens))
    if config.max_steps is not None:
        return "max_steps", str(2 * max(state.step, config.max_steps))
    return "epochs", f"{2 * config.epochs:g}"
