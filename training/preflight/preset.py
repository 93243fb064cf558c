"""`--preset auto`: the largest preset that the machine trains, by memory on a GPU, by memory and time on a CPU."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from foundation.device import pick_dtype
from foundation.errors import UserError
from foundation.logs import get_logger
from foundation.page.wording import seconds, size
from model.architectures import DECODER
from model.config import ModelConfig
from model.costs import COMPUTE_OPTIMAL, activation_bytes, flops_per_token, parameters, state_bytes
from model.presets import AUTO, KEYS, merged
from training.config import TrainingConfig
from training.devices.free_memory import memory_limit, resident
from training.preflight.memory import RESERVE, WORKSPACE
from training.preflight.memory import STATE_BYTES as MOMENTS

log = get_logger("training")

STEPS = (100, 40, 24, 12, 6, 3, 0)
"""Gigabytes of a GPU's memory from which each preset of a ladder is taken. A card that is sold as 24 GB counts, though
a tenth of it be taken by the system."""
LADDERS = {
    "llama": ("350m", "124m", "60m", "30m", "15m", "7m", "3m"),
    "bert": ("bert-large", "bert-base", "bert-base", "bert-medium", "bert-small", "bert-mini", "bert-tiny"),
    "modernbert": (
        "modern-base", "modern-base", "modern-medium", "modern-medium", "modern-small", "modern-mini", "modern-tiny",
    ),
}  # fmt: skip
"""The presets of each architecture from the largest to the smallest, one for each of `STEPS`."""
LONGEST = 8 * 3600.0
"""Seconds that a run on a CPU may take, where no time_budget says."""
CORE_RATES = {torch.float32: 40e9, torch.bfloat16: 80e9}
"""Operations a second of one CPU core in training, about (Zen 5: 50 and 90 in a 15M model)."""


@dataclass(frozen=True)
class Work:
    """What a run does with its model: tokens of the whole run (None: as many as the clock allows), tokens of a
    sequence, vocabulary."""

    tokens: int | None
    sequence: int
    vocab_size: int
    head_share: float = 1.0
    """The share of positions that the vocabulary's head computes."""


def resolve_preset(
    model: ModelConfig,
    given: Collection[str],
    saved: Mapping[str, Any] | None,
    training: TrainingConfig,
    work: Work,
    device: torch.device,
) -> ModelConfig:
    """`model` with `preset: auto` replaced by a choice; any other `model` as it is.

    `given` are the leaves that flags set: they win over the preset. A resumed run (`saved`: its checkpoint) keeps what
    it is.
    """
    if model.preset != AUTO:
        return model
    if saved is not None:
        old = saved["config"]["model"]
        kept = {key: old[key] for key in ("preset", *KEYS) if key in old and key not in given}
        return ModelConfig(**{**model.model_dump(), **kept})
    limit = memory_limit(device, training.memory_budget)
    if device.type == "cpu":
        name = _for_cpu(model, given, limit, training, work, pick_dtype(training.dtype, device))
    else:
        name = next(name for gigabytes, name in zip(STEPS, ladder_of(model), strict=True) if limit >= 0.9e9 * gigabytes)
    log.info("preset auto: %s, for %s of memory on %s", name, size(limit), device)
    return with_preset(model, name, given)


def with_preset(model: ModelConfig, name: str, given: Collection[str]) -> ModelConfig:
    """`model` with the architecture of a preset, but for the leaves that flags gave."""
    return ModelConfig(**merged(name, {**model.model_dump(), "preset": name}, given))


def ladder_of(model: ModelConfig) -> Sequence[str]:
    """The presets of the model's architecture, the largest first."""
    return LADDERS[model.architecture or DECODER]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _copies(training: TrainingConfig) -> int:
    """Bytes of a weight beside its training: its average, and what the checkpoint's writer holds of all of them."""
    average = 4 if training.use_ema else 0
    return average + (4 + average + MOMENTS if training.async_save else 0)


def _for_cpu(
    model: ModelConfig, given: Collection[str], limit: int, training: TrainingConfig, work: Work, dtype: torch.dtype
) -> str:
    """The largest preset whose state and one sequence fit the memory, and whose run fits the time: the run's own
    tokens within a night, or 20 tokens a parameter (Hoffmann et al. 2022) within the time budget. The smallest that
    fits the memory where none fits the time."""
    time = training.time_budget or LONGEST
    rate = CORE_RATES.get(dtype, CORE_RATES[torch.float32]) * _cores()
    fitting = None
    attended = work.sequence if model.is_encoder else (work.sequence + 1) / 2
    for name in dict.fromkeys(ladder_of(model)):
        shape = with_preset(model, name, given)
        kept = activation_bytes(shape, work.vocab_size, work.sequence, work.head_share)
        memory = resident() + state_bytes(shape, work.vocab_size) + WORKSPACE * kept
        memory += _copies(training) * parameters(shape, work.vocab_size)
        if memory > limit * (1 - RESERVE):
            continue
        fitting = name
        tokens = COMPUTE_OPTIMAL * parameters(shape, work.vocab_size) if work.tokens is None else work.tokens
        if tokens * flops_per_token(shape, work.vocab_size, attended, work.head_share) <= time * rate:
            return name
    if fitting is None:
        raise UserError(
            f"--preset auto: no preset trains within {size(limit)} of memory; name a small one (python -m "
            "model.presets), or raise --memory_budget"
        )
    log.warning("preset auto: even %s will take longer than %s here", fitting, seconds(time))
    return fitting
