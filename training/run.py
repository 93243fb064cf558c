"""A training run from its configuration: prepare, try, train."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import torch

from foundation import logs
from training.assembly import Assembly
from training.devices.compilation import advice
from training.devices.distributed import World, join_world
from training.devices.ending import end
from training.devices.free_memory import hold_to
from training.devices.host_memory import keep_freed_memory
from training.going_on import longer
from training.loggers.choose import open_foreign
from training.loggers.fan_out import Loggers
from training.preflight.checks import Preflight, on_main
from training.preflight.choices import chosen_plan
from training.preflight.microbatch import next_samples
from training.preflight.prediction import Prediction
from training.preparation import Prepared, prepare
from training.run_config import RunConfig
from training.saving.best_again import bring_best_back
from training.saving.saver import save_at_once
from training.signals import around_the_loop
from training.trainer import Trainer

log = logs.get_logger("training")


def run_training(config: RunConfig) -> int:
    """Train as `config` says, whose settings are checked (see `combination_problems`); gives the exit code (see
    `Trainer.run`). `UserError` before any work."""
    config = config.with_training(out_dir=config.directory)
    training, flags = config.training, config.flags
    world, device = join_world(flags.ddp or flags.fsdp, flags.local_rank, training.device, training.process_timeout)
    keep_freed_memory(device)
    if not world.is_main:
        logging.getLogger(logs.ROOT).setLevel(logging.ERROR)
    try:
        with around_the_loop(), ExitStack() as stack:
            code = _train(config, world, device, stack)
            # The first process writes the files: when the others go on, to another run say, all of them are there.
            return int(world.same_everywhere(code))
    except BaseException as error:
        if world.size > 1:
            end(error, world)
        raise
    finally:
        world.close()


def _train(config: RunConfig, world: World, device: torch.device, stack: ExitStack) -> int:
    """Check everything, and only then change the run directory."""
    run = prepare(config, world, device, stack)
    if run.is_over:
        return _conclude(run)
    assembly, prediction = _tried(run, device)
    if config.flags.dry_run:
        _announce(run, assembly, prediction)
        return 0
    foreign = _open_foreign(run)
    with foreign.closed_by_an_error():
        if world.is_main:
            _open_directory(run)
        _announce(run, assembly, prediction)
        parts = assembly.parts(run.state, run.config.plain(), config.write_texts, foreign)
        if run.is_branch:
            save_at_once(parts, run.state)  # until its first save it would have nothing to resume from
        if run.start.path is not None:
            bring_best_back(parts, run.state, run.start.path)
        trainer = Trainer(parts, run.state)
    return trainer.run() or _conclude(run)


def _tried(run: Prepared, device: torch.device) -> tuple[Assembly, Prediction | None]:
    """The run put together, in microbatches that fit, and what a trial step foretells; None where nobody asked."""
    training, flags, state = run.config.training, run.config.flags, run.state
    upcoming = next_samples(run.samples, run.task.microbatch, state.sample)
    hold_to(training.memory_budget, device)
    plan = chosen_plan(run.split, run.snapshot, upcoming, training, state)
    checks = Preflight(run.assembly(plan), state, upcoming, remember=flags.resume and not flags.dry_run)
    prediction = checks.run() if training.preflight or flags.dry_run else None
    if prediction is None and run.world.size > 2 and run.snapshot.strategy.whole_model:
        checks.settle()
    return checks.assembly, prediction  # perhaps in smaller microbatches


def _announce(run: Prepared, assembly: Assembly, prediction: Prediction | None) -> None:
    """Say what is about to happen."""
    assembly.announce(run.state)
    if prediction is None:
        return
    hint = advice(run.config.training.compile, assembly.device, prediction.run_seconds)
    for line in (*prediction.lines(), *([hint] if hint else [])):
        log.info("%s", line)
    warmup = max(0, run.length.warmup_steps - run.state.step) * prediction.seconds
    if run.length.unit == "seconds" and warmup > prediction.budget / 2:
        log.warning(
            "warmup_steps %d would take %.0f s of the %.0f s that there are; give --warmup_ratio instead",
            run.length.warmup_steps,
            warmup,
            prediction.budget,
        )


def _open_foreign(run: Prepared) -> Loggers:
    """Rank 0's loggers of other libraries; `UserError` when one refuses, which ends all ranks."""
    if run.is_branch:
        run.state.wandb_id = None  # it writes no curves into those of the run that it left
    opened: list[Loggers] = []
    settings = run.config.plain()
    on_main(run.world, lambda: opened.append(open_foreign(run.config.logging, run.directory, run.state, settings)))
    return Loggers(opened)


def _open_directory(run: Prepared) -> None:
    """Make the run directory hold exactly the run up to its state, and start the log."""
    if run.start.fresh:
        run.directory.clear(run.config.flags.resume)
    run.directory.cut_back(run.state.step, pending=run.state.pending_row is not None)
    logs.setup(run.directory.log)


def _conclude(run: Prepared) -> int:
    """What comes after the last step; gives the exit code."""
    run.task.conclude(run.directory, run.world, run.snapshot.precision)
    log.info("%s", longer(run.directory.path, run.config.training, run.state, chained=bool(run.config.flags.chain)))
    return 0
