"""Put the checked pieces of a run together into what the loop uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from foundation.logs import get_logger
from training.batching.batches import BatchPlan, BatchStream
from training.batching.datasets import TrainingData
from training.batching.samples import TrainingSamples
from training.config import DataConfig, LoggingConfig, TrainingConfig
from training.devices.compilation import compiled
from training.devices.distributed import World
from training.evaluation.validation import Validation
from training.facts import circumstances
from training.loggers.choose import choose_loggers
from training.loggers.fan_out import Loggers
from training.loggers.progress import Progress
from training.optimization.run_length import RunLength
from training.parts import Parts
from training.sampling import Sampling, TextWriter
from training.saving.run_directory import RunDirectory
from training.saving.snapshot import Snapshot
from training.state import RunState
from training.step import Stepper
from training.tasks.base import Task
from training.throughput import Throughput, throughput

log = get_logger("training")

ENDLESS = 2**40
"""Steps of a run that ends by something else."""


@dataclass(frozen=True)
class Assembly:
    """The pieces; `parts` makes the loop's view of them."""

    data_config: DataConfig
    training: TrainingConfig
    logging: LoggingConfig
    world: World
    directory: RunDirectory
    task: Task
    samples: TrainingSamples
    plan: BatchPlan
    snapshot: Snapshot
    length: RunLength

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.snapshot.precision.device

    @property
    def tokens_per_step(self) -> int:
        """Tokens of an optimizer step, about."""
        return round(self.plan.global_batch * self.samples.tokens_a_row)

    @property
    def data(self) -> TrainingData:
        """What is trained on."""
        return self.task.data

    def with_plan(self, plan: BatchPlan) -> Assembly:
        """The same pieces for another plan, compiled and spread over ranks as they are: never twice."""
        other = replace(self, plan=plan)
        other.__dict__.update({name: self.__dict__[name] for name in ("module", "stepper") if name in self.__dict__})
        return other

    def announce(self, state: RunState) -> None:
        """Say in three lines what is about to happen."""
        tokens = self.tokens_per_step
        log.info(
            "data: %s, %s training tokens, %s to validate on, vocabulary %s",
            self.data.where,
            f"{self.data.train.tokens:,}",
            f"{self.data.validation.tokens:,}" if self.data.validation else "none",
            f"{self.data.vocab_size:,}",
        )
        log.info(
            "model: %s parameters on %s in %s, %d process(es)",
            f"{self.snapshot.model.num_parameters():,}",
            self.device,
            str(self.snapshot.precision.dtype).removeprefix("torch."),
            self.world.size,
        )
        self.samples.announce()
        total = self.length.steps(state)
        if total is None:
            left = max(0.0, self.length.end - state.elapsed)
            log.info(
                "run: %s, from step %d of %s tokens, %.0f s", self.directory.path, state.step + 1, f"{tokens:,}", left
            )
            return
        passes = total * self.plan.global_batch / self.samples.samples_per_epoch
        log.info(
            "run: %s, steps %d to %s of %s tokens, %.2f passes over the data",
            self.directory.path,
            state.step + 1,
            self.length.steps_in_words(state),
            f"{tokens:,}",
            passes,
        )
        if self.length.warmup_steps >= total:
            log.warning(
                "warmup_steps %d is not below the run's %d steps: the learning rate never reaches its peak",
                self.length.warmup_steps,
                total,
            )

    @cached_property
    def module(self) -> nn.Module:
        """The model as its losses, compiled where that is wanted; not yet spread over ranks."""
        parts = self.snapshot.strategy.compiled_parts(self.snapshot.model)
        return compiled(self.snapshot.module, self.training.compile, self.device, parts)

    @cached_property
    def stepper(self) -> Stepper:
        """What runs the optimizer steps."""
        return Stepper(
            self.snapshot.strategy.spread(self.module),
            self.snapshot.optimizers,
            self.snapshot.precision,
            self.snapshot.strategy,
            self.training.grad_clip,
        )

    def parts(
        self, state: RunState, settings: dict[str, Any], write_texts: TextWriter | None, foreign: Loggers
    ) -> Parts:
        """Everything the loop uses, from `state` on. Rank 0 gets loggers, `foreign` (see `open_foreign`) among them."""
        progress = self._progress(state) if self.world.is_main else None
        return Parts(
            training=self.training,
            logging=self.logging,
            world=self.world,
            directory=self.directory,
            task=self.task,
            snapshot=self.snapshot,
            stepper=self.stepper,
            plan=self.plan,
            samples=self.samples,
            stream=self._stream(state, self.plan),
            restart=self._stream,
            validation=self._validation(),
            loggers=self._loggers(progress, state, settings, foreign),
            sampling=self._sampling(write_texts),
            progress=progress,
            throughput=self.throughput,
            length=self.length,
        )

    def _progress(self, state: RunState) -> Progress:
        """Of a run of tokens by its tokens: where rows have padding, nobody knows the steps exactly."""
        if self.length.unit == "tokens":
            return Progress(state.tokens, int(self.length.end), "tokens")
        left = self.length.end - state.elapsed if self.length.unit == "seconds" else None
        return Progress(state.step, self.length.steps(state), seconds_left=left)

    def _stream(self, state: RunState, plan: BatchPlan) -> BatchStream:
        return BatchStream(
            self.samples,
            plan,
            state.sample,
            self._steps_left(state),
            self.task.microbatch,
            ahead=self.data_config.prefetch_steps,
            pin=self.device.type == "cuda",
        )

    def _steps_left(self, state: RunState) -> int:
        """As many steps as there may be; the loop ends where the run does."""
        if self.length.unit == "steps":
            return max(0, int(self.length.end) - state.step)
        return 0 if self.length.finished(state) else ENDLESS

    def _validation(self) -> Validation | None:
        if self.data.validation is None:
            return None
        evaluator = self.task.evaluator(
            self.data.validation, self.directory.path, self.plan.batch_size, self.world, self.snapshot.precision
        )
        return Validation(evaluator, self.module, self.snapshot.average)

    def _loggers(
        self, progress: Progress | None, state: RunState, settings: dict[str, Any], foreign: Loggers
    ) -> Loggers:
        if progress is None:
            return Loggers()
        facts = {**self._facts(state), "config": settings}
        return choose_loggers(self.logging, self.directory, progress, facts, foreign)

    @property
    def throughput(self) -> Throughput:
        """What tokens per second mean for the devices."""
        return throughput(
            self.snapshot.model.config,
            self.data.vocab_size,
            self.task.attended_length(),
            self.task.head_share,
            self.device,
            self.snapshot.precision.dtype,
            self.world.size,
            self.logging.peak_tflops,
        )

    def _sampling(self, write_texts: TextWriter | None) -> Sampling | None:
        if write_texts is None or not self.world.is_main or not self.logging.sample_tokens:
            return None
        if not self.snapshot.strategy.whole_model:
            log.info("no samples: no process holds the whole model")
            return None
        return Sampling(write_texts, self.snapshot, self.logging, self.training.seed)

    def _facts(self, state: RunState) -> dict[str, Any]:
        """What history.jsonl says about this start."""
        data = self.data
        return {
            "step": state.step,
            **circumstances(self.device),
            "ranks": self.world.size,
            "dtype": str(self.snapshot.precision.dtype).removeprefix("torch."),
            "compiled": self.stepper.compiles,
            "task": self.task.name,
            "parameters": self.snapshot.model.num_parameters(),
            "dataset": self.samples.where,
            "train_tokens": data.train.tokens,
            "validation_tokens": data.validation.tokens if data.validation else None,
            "vocab_size": data.vocab_size,
            "global_batch": self.plan.global_batch,
            "tokens_per_step": self.tokens_per_step,
            "tokens_per_epoch": round(self.samples.samples_per_epoch * self.samples.tokens_a_row),
            "total_steps": int(self.length.end) if self.length.unit == "steps" else None,
            "total_tokens": int(self.length.end) if self.length.unit == "tokens" else None,
        }
