"""A training run from its configuration: open, check, put the parts together, train."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from foundation import logs
from foundation.device import pick_dtype
from foundation.errors import UserError
from foundation.section import Section
from foundation.streams import derive_seed
from model.build import new_model
from model.config import ModelConfig
from training.assembly import Assembly
from training.batching.datasets import open_data
from training.batching.samples import TrainingSamples, open_samples
from training.batching.split import Split
from training.config import DataConfig, LoggingConfig, TrainFlags, TrainingConfig, combination_problems
from training.devices.choose_strategy import choose_strategy
from training.devices.compilation import advice
from training.devices.distributed import World, join_world
from training.devices.ending import end
from training.devices.free_memory import hold_to
from training.devices.host_memory import keep_freed_memory
from training.devices.precision import Precision, set_tf32
from training.evaluation.early_stopping import require_validation, stopped_early
from training.finetuning.layers import freeze
from training.going_on import longer
from training.loggers.choose import open_foreign
from training.loggers.fan_out import Loggers
from training.optimization.optimizer import build_optimizers
from training.optimization.run_length import run_length
from training.optimization.weight_average import WeightAverage
from training.preflight.checks import Preflight, check_data, on_main
from training.preflight.choices import chosen_model, chosen_plan
from training.preflight.microbatch import next_samples
from training.sampling import TextWriter
from training.saving.best_again import bring_best_back
from training.saving.model_output import saved_step
from training.saving.resume import Identity, check_resume
from training.saving.run_directory import RunDirectory
from training.saving.smaller_microbatch import left
from training.saving.snapshot import Snapshot
from training.saving.start import Start, find_start
from training.signals import around_the_loop
from training.state import RunState
from training.tasks.base import Task
from training.tasks.choose import choose_task
from training.trainer import Trainer

log = logs.get_logger("training")

DEFAULT_DIRECTORY: Path = TrainingConfig.model_fields["out_dir"].default


@dataclass(frozen=True)
class RunConfig:
    """The sections and flags of one training command."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    logging: LoggingConfig
    flags: TrainFlags
    write_texts: TextWriter | None = None
    """What writes the samples at validations; None: there are none."""
    given: frozenset[str] = frozenset()
    """The settings that the command line named, as opposed to the file: they win over a preset."""

    @property
    def directory(self) -> Path:
        """Where the run lies. Fine-tuning has a place of its own below the default one, named for the dataset: it never
        overwrites what it starts from."""
        directory = self.training.out_dir
        if self.training.task in ("chat", "classify") and directory == DEFAULT_DIRECTORY:
            return directory / "finetune" / self.data.sources[0].path.resolve().name
        return directory

    def with_training(self, **changes: Any) -> RunConfig:
        """The same with other settings of the section `training`."""
        return replace(self, training=self.training.model_copy(update=changes))

    def plain(self) -> dict[str, dict[str, Any]]:
        """The sections as plain values, for checkpoints and loggers."""
        sections: dict[str, Section] = {
            "data": self.data,
            "model": self.model,
            "training": self.training,
            "logging": self.logging,
        }
        return {name: section.model_dump(mode="json") for name, section in sections.items()}


def run_training(config: RunConfig) -> int:
    """Train as `config` says; gives the exit code (see `Trainer.run`). `UserError` before any work."""
    config = config.with_training(out_dir=config.directory)
    # What a run starts from has its own positions (see `InitialModel.shape`).
    positions = config.model.max_position_embeddings if config.training.init_from is None else sys.maxsize
    problems = combination_problems(config.data, config.training, config.logging, config.flags, positions)
    if problems:
        raise UserError("\n  ".join(["the configuration has problems:", *problems]))
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
    directory = RunDirectory(config.training.out_dir)
    start = find_start(directory, config.training, config.flags, world, stack)
    data = open_data(config.data)
    training = config.training
    require_validation(training, data.validation is not None)
    if training.preflight:
        check_data(data, world, directory.path)
    split = Split(training, world, start.content, left(directory, training, config.flags, world))
    task = choose_task(data, config.data, training)
    shape = task.model_config(config.model, config.given, start.content)
    model = chosen_model(
        shape, config.given, start.content, config.data, training, data, split, world, device, task.head_share
    )
    config = replace(config, model=model)
    samples = open_samples(task, directory.path, start.content)
    identity = _identity(config, task, samples, split, start)
    snapshot = _snapshot(config, task, world, device, identity, fresh=start.fresh)
    state = _state(start, snapshot, training)
    start = start.without_content()  # as large as the whole run's state, on every rank
    state.mixture = samples.history
    length = run_length(
        training,
        state,
        samples.samples_per_epoch,
        split.global_batch,
        config.data.max_seq_len,
        samples.tokens_a_row,
    )
    over = length.finished(state) or stopped_early(training, state)
    if over and state.pending_row is None and saved_step(directory.final) == state.step:
        task.conclude(directory, world, snapshot.precision)
        log.info("%s", longer(directory.path, training, state, chained=bool(config.flags.chain)))
        return 0
    upcoming = next_samples(samples, task.microbatch, state.sample)
    hold_to(training.memory_budget, device)
    plan = chosen_plan(split, snapshot, upcoming, training, state)
    assembly = Assembly(config.data, training, config.logging, world, directory, task, samples, plan, snapshot, length)
    checks = Preflight(assembly, state, upcoming, remember=config.flags.resume and not config.flags.dry_run)
    prediction = checks.run() if training.preflight or config.flags.dry_run else None
    assembly = checks.assembly  # perhaps in smaller microbatches
    foreign = Loggers() if config.flags.dry_run else _open_foreign(config, directory, world, state)
    with foreign.closed_by_an_error():
        if world.is_main and not config.flags.dry_run:
            _open_directory(directory, config, start, state)
        assembly.announce(state)
        if prediction:
            hint = advice(config.training.compile, device, prediction.run_seconds)
            for line in (*prediction.lines(), *([hint] if hint else [])):
                log.info("%s", line)
        if config.flags.dry_run:
            return 0
        parts = assembly.parts(state, config.plain(), config.write_texts, foreign)
        if start.path is not None:
            bring_best_back(parts, state, start.path)
        trainer = Trainer(parts, state)
    return _loop(config, assembly, trainer, state)


def _open_foreign(config: RunConfig, directory: RunDirectory, world: World, state: RunState) -> Loggers:
    """Rank 0's loggers of other libraries; `UserError` when one refuses, which ends all ranks."""
    opened: list[Loggers] = []
    on_main(world, lambda: opened.append(open_foreign(config.logging, directory, state, config.plain())))
    return Loggers(opened)


def _loop(config: RunConfig, assembly: Assembly, trainer: Trainer, state: RunState) -> int:
    """Train to the end, or to where it is stopped; gives the exit code."""
    code = trainer.run()
    if code == 0:
        directory = assembly.directory.path
        assembly.task.conclude(assembly.directory, assembly.world, assembly.snapshot.precision)
        log.info("%s", longer(directory, config.training, state, chained=bool(config.flags.chain)))
    return code


def _identity(config: RunConfig, task: Task, samples: TrainingSamples, split: Split, start: Start) -> Identity:
    """What makes this run this one; `UserError` when the checkpoint that it continues is of another."""
    data = task.data
    identity = Identity(
        config.plain(),
        data.vocab_size,
        data.train.identity,
        data.tokenizer.fingerprint,
        split.global_batch,
        samples.stretch,
        samples.plan,
        None if task.heads is None else task.heads.plain(),
    )
    if start.content is not None and start.path is not None:
        check_resume(start.content, start.path, identity, config.flags.allow_change)
    return identity


def _snapshot(
    config: RunConfig, task: Task, world: World, device: torch.device, identity: Identity, fresh: bool
) -> Snapshot:
    """A new model with what trains it; a `fresh` run may begin with another model's weights."""
    torch.manual_seed(derive_seed(config.training.seed, "weights"))
    model = new_model(config.model, task.data.vocab_size, task.heads)
    if fresh:
        task.initialise(model)
    model.recompute = config.training.activation_checkpointing
    freeze(model, config.training.freeze_layers)
    module = task.loss_module(model)
    set_tf32(config.training.tf32, device)
    precision = Precision(device, pick_dtype(config.training.dtype, device))
    strategy = choose_strategy(world, device, precision.dtype, config.flags.fsdp)
    strategy.prepare(module)
    optimizers = build_optimizers(model, config.training, device)
    strategy.check(optimizers)
    average = WeightAverage(model, config.training.ema_decay) if config.training.use_ema else None
    return Snapshot(task, module, optimizers, strategy, precision, identity, average)


def _state(start: Start, snapshot: Snapshot, training: TrainingConfig) -> RunState:
    if start.content is None or start.path is None:
        return RunState()
    state = snapshot.restore(start.content, start.path, training)
    log.info("resuming %s at step %d", start.path, state.step)
    return state


def _open_directory(directory: RunDirectory, config: RunConfig, start: Start, state: RunState) -> None:
    """Make the run directory hold exactly the run up to `state`, and start the log."""
    if start.fresh:
        directory.clear(config.flags.resume)
    directory.cut_back(state.step, pending=state.pending_row is not None)
    logs.setup(directory.log)
