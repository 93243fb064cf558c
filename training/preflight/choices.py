"""What a run lets the machine choose, preset and microbatch: made here, the same on every rank, kept by a resume."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from model.config import ModelConfig
from training.batching.batches import BatchPlan
from training.batching.datasets import TrainingData
from training.batching.split import Split
from training.config import DataConfig, TrainingConfig
from training.devices.distributed import World
from training.preflight.checks import on_main
from training.preflight.microbatch import Upcoming, choose_microbatch
from training.preflight.preset import Work, resolve_preset
from training.saving.snapshot import Snapshot
from training.state import RunState


def chosen_model(
    model: ModelConfig,
    given: Collection[str],
    saved: Mapping[str, Any] | None,
    data_config: DataConfig,
    training: TrainingConfig,
    data: TrainingData,
    split: Split,
    world: World,
    device: torch.device,
    head_share: float,
) -> ModelConfig:
    """The model with an automatic preset resolved (see `resolve_preset`)."""
    length = data_config.max_seq_len
    tokens = int(training.epochs * data.train.tokens)
    if training.max_steps is not None:
        tokens = training.max_steps * split.global_batch * length
    total = None if training.time_budget is not None else training.max_tokens or tokens
    work = Work(total, length, data.vocab_size, head_share)
    return on_main(world, lambda: resolve_preset(model, given, saved, training, work, device))


def chosen_plan(
    split: Split, snapshot: Snapshot, upcoming: Upcoming, training: TrainingConfig, state: RunState
) -> BatchPlan:
    """The plan of the steps; a microbatch that nobody named is chosen here, and remembered in `state`."""
    microbatch = split.microbatch
    if microbatch is None:
        microbatch = choose_microbatch(split, snapshot, upcoming, training)
    state.microbatch = None if microbatch == training.batch_size else microbatch
    return split.plan(microbatch)
