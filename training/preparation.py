"""A run before its first step: data, model and state, checked and put together. Nothing on the disk changes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from foundation.device import pick_dtype
from foundation.errors import UserError
from foundation.logs import get_logger
from foundation.streams import derive_seed
from model.build import new_model
from training.assembly import Assembly
from training.batching.batches import BatchPlan
from training.batching.datasets import open_data
from training.batching.samples import TrainingSamples, open_samples
from training.batching.split import Split
from training.config import TrainingConfig
from training.devices.choose_strategy import choose_strategy
from training.devices.distributed import World
from training.devices.precision import Precision, set_tf32
from training.evaluation.early_stopping import require_validation, stopped_early
from training.finetuning.layers import freeze
from training.optimization.optimizer import build_optimizers
from training.optimization.run_length import RunLength, run_length
from training.optimization.weight_average import WeightAverage
from training.preflight.checks import check_data
from training.preflight.choices import chosen_model
from training.run_config import RunConfig
from training.saving.model_output import saved_step
from training.saving.resume import Identity, check_resume
from training.saving.run_directory import RunDirectory
from training.saving.smaller_microbatch import left
from training.saving.snapshot import Snapshot
from training.saving.start import Start, find_start, is_of_run
from training.state import RunState
from training.tasks.base import Task
from training.tasks.choose import choose_task

log = get_logger("training")


@dataclass(frozen=True)
class Prepared:
    """What a run trains, on what, from where and how long; how a step is cut into microbatches is still open."""

    config: RunConfig
    """With the model that was chosen."""
    world: World
    directory: RunDirectory
    start: Start
    """Without the checkpoint's content, which is restored."""
    split: Split
    task: Task
    samples: TrainingSamples
    snapshot: Snapshot
    state: RunState
    length: RunLength

    @property
    def is_branch(self) -> bool:
        """Whether the run goes on from a checkpoint of another directory."""
        return self.start.path is not None and not is_of_run(self.start.path, self.directory.path)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended before, and its final model lies there."""
        state = self.state
        over = self.length.finished(state) or stopped_early(self.config.training, state)
        return over and state.pending_row is None and saved_step(self.directory.final) == state.step

    def assembly(self, plan: BatchPlan) -> Assembly:
        """The run with this plan of its steps."""
        config = self.config
        return Assembly(
            config.data,
            config.training,
            config.logging,
            self.world,
            self.directory,
            self.task,
            self.samples,
            plan,
            self.snapshot,
            self.length,
        )


def prepare(config: RunConfig, world: World, device: torch.device, stack: ExitStack) -> Prepared:
    """Find the start, open the data, build or restore the model. Locks the run directory until `stack` closes."""
    directory = RunDirectory(config.training.out_dir)
    start = find_start(directory, config.training, config.flags, world, stack)
    config = _with_origin(config, start)
    training, flags = config.training, config.flags
    data = open_data(config.data)
    require_validation(training, data.validation is not None)
    if training.preflight:
        check_data(data, world, directory.path)
    split = Split(training, world, start.content, left(directory, training, flags, world))
    task = choose_task(data, config.data, training)
    shape = task.model_config(config.model, config.given, start.content)
    model = chosen_model(
        shape, config.given, start.content, config.data, training, data, split, world, device, task.head_share
    )
    config = replace(config, model=model)
    _require_positions(config, can_grow=start.fresh and training.init_from is None)
    samples = open_samples(task, directory.path, start.content)
    identity = _identity(config, task, samples, split, start)
    snapshot = _snapshot(config, task, world, device, identity, fresh=start.fresh)
    state = _state(start, snapshot, training)
    state.mixture = samples.history
    row = (config.data.max_seq_len, samples.tokens_a_row)
    length = run_length(training, state, samples.samples_per_epoch, split.global_batch, *row)
    # The content is as large as the whole run's state, on every rank.
    return Prepared(config, world, directory, start.without_content(), split, task, samples, snapshot, state, length)


def _require_positions(config: RunConfig, can_grow: bool) -> None:
    """`UserError` where rows are longer than the model has positions; one that is new `can_grow`."""
    length, most = config.data.max_seq_len, config.model.max_position_embeddings
    if length > most:
        other = f" or give --max_position_embeddings {length}" if can_grow else ""
        raise UserError(f"max_seq_len {length} exceeds the {most} positions of the model; lower max_seq_len{other}")


def _with_origin(config: RunConfig, start: Start) -> RunConfig:
    """With what the run began from, also where a resume no longer says it: its next checkpoint does."""
    origin = start.content["config"]["training"].get("init_from") if start.content is not None else None
    return config if origin is None or config.training.init_from else config.with_training(init_from=Path(origin))


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
