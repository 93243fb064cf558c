"""Train a language model on token shards: `python train.py`, or `torchrun train.py --ddp`."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from foundation import cli, logs
from foundation.config import Loaded, load_config
from foundation.errors import UserError
from foundation.section import Section
from model.config import ModelConfig
from training.config import DataConfig, LoggingConfig, TrainFlags, TrainingConfig, combination_problems
from training.settings.of_tasks import check_flags

if TYPE_CHECKING:
    from training.run_config import RunConfig

log = logs.get_logger("training")

SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "logging": LoggingConfig,
}


def main(argv: list[str]) -> int:
    """Parse `argv`, train, and give the exit code: 0 finished, 75 or 130 stopped and resumable, 1 or 2
    failed."""
    try:
        loaded = _load(argv)
        stages = {name: _load(argv, name) for name in loaded.get(TrainFlags).stages}
        if not stages:
            check_flags(loaded.get(TrainingConfig).task, loaded.by_flag)
        for number, one in enumerate(stages.values() or [loaded]):
            _check(one, inherits=number > 0)
    except UserError:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return cli.EXIT_USER_ERROR  # the machine's first process says what is wrong
        raise
    logs.setup()
    from training.finetuning.chain import Stage, run_chain  # torch takes seconds to import; --help does not need it
    from training.finetuning.repeats import is_main, train

    if not is_main():
        logging.getLogger(logs.ROOT).setLevel(logging.ERROR)
    if not stages:
        if loaded.stages:
            log.info("the file's stages (%s) are not run; --chain names those that are", ", ".join(loaded.stages))
        return train(_run_config(loaded))
    found = [Stage(name, _run_config(stage), stage.of_stage) for name, stage in stages.items()]
    return run_chain(found, loaded.by_flag)


def _load(argv: list[str], stage: str | None = None) -> Loaded:
    return load_config("train.py", "Train a language model on token shards.", SECTIONS, TrainFlags, argv, stage=stage)


def _check(loaded: Loaded, inherits: bool) -> None:
    """`UserError` for settings that contradict each other; a stage that `inherits` starts from the model before it."""
    data, training = loaded.get(DataConfig), loaded.get(TrainingConfig)
    logging_config, flags = loaded.get(LoggingConfig), loaded.get(TrainFlags)
    goes_on = inherits or training.init_from is not None or flags.resume or flags.resume_from is not None
    # What a run goes on from has its own positions: they are looked at when it is read.
    positions = sys.maxsize if goes_on else loaded.get(ModelConfig).max_position_embeddings
    problems = combination_problems(data, training, logging_config, flags, positions)
    if problems:
        raise UserError("\n  ".join(["the configuration has problems:", *problems]))


def _run_config(loaded: Loaded) -> RunConfig:
    """What a run is made of."""
    from generation.samples import write_samples
    from training.run_config import RunConfig

    return RunConfig(
        loaded.get(DataConfig),
        loaded.get(ModelConfig),
        loaded.get(TrainingConfig),
        loaded.get(LoggingConfig),
        loaded.get(TrainFlags),
        write_samples,
        loaded.by_flag,
    )


if __name__ == "__main__":
    cli.run(main)
