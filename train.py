"""Train a language model on token shards: `python train.py`, or `torchrun train.py --ddp`."""

from __future__ import annotations

import os

from foundation import cli, logs
from foundation.config import load_config
from foundation.errors import UserError
from foundation.section import Section
from model.config import ModelConfig
from training.config import DataConfig, LoggingConfig, TrainFlags, TrainingConfig
from training.settings.of_tasks import check_flags

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
        loaded = load_config("train.py", "Train a language model on token shards.", SECTIONS, TrainFlags, argv)
        check_flags(loaded.get(TrainingConfig).task, loaded.by_flag)
    except UserError:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return cli.EXIT_USER_ERROR  # the machine's first process says what is wrong
        raise
    logs.setup()
    from generation.samples import write_samples  # torch takes seconds to import; --help does not need it
    from training.run import RunConfig, run_training

    return run_training(
        RunConfig(
            loaded.get(DataConfig),
            loaded.get(ModelConfig),
            loaded.get(TrainingConfig),
            loaded.get(LoggingConfig),
            loaded.get(TrainFlags),
            write_samples,
            loaded.by_flag,
        )
    )


if __name__ == "__main__":
    cli.run(main)
