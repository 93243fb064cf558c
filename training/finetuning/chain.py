"""Several stages one after the other: pretraining, then fine-tuning what came of it, as one command."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foundation.errors import UserError
from foundation.logs import get_logger
from training.finetuning.repeats import best_model, train
from training.run_config import RunConfig

log = get_logger("training")


@dataclass(frozen=True)
class Stage:
    """A stage's name and configuration, and the settings that the file gives to this stage alone."""

    name: str
    config: RunConfig
    own: Collection[str]


def run_chain(stages: Sequence[Stage], on_command_line: Collection[str]) -> int:
    """Run `stages` in their order; gives the exit code of the first that did not finish, or 0.

    A stage without an `out_dir` of its own lies in a directory of its name, and so does every stage when the command
    line names the `out_dir`. One without `init_from` of its own starts from the best model of the stage before it. With
    --resume finished stages are passed over and the rest goes on.
    """
    placed = [_placed(stage, moved="out_dir" in on_command_line) for stage in stages]
    _check_places(placed)
    before: RunConfig | None = None
    for stage in placed:
        config = stage.config
        if before is not None and "init_from" not in stage.own:
            if config.flags.dry_run:
                log.info("stage %s starts from %s, which is not there yet: not tried", stage.name, before.directory)
                return 0
            config = config.with_training(init_from=best_model(before))
        log.info("stage %s: %s", stage.name, config.directory)
        code = train(config)
        if code:
            return code
        before = config
    return 0


def _placed(stage: Stage, moved: bool) -> Stage:
    """The stage with its directory settled; `moved`: the command line says where all of them lie."""
    config = stage.config
    if "out_dir" in stage.own and not moved:
        return replace(stage, config=config.with_training(out_dir=config.directory))
    return replace(stage, config=config.with_training(out_dir=config.training.out_dir / stage.name))


def _check_places(stages: Sequence[Stage]) -> None:
    seen: dict[Path, str] = {}
    for stage in stages:
        place = stage.config.directory.resolve()
        if place in seen:
            raise UserError(
                f"stages {seen[place]} and {stage.name} both lie in {stage.config.directory}; give one another out_dir"
            )
        seen[place] = stage.name
