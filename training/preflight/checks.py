"""Everything that can be known before step 1: data, disk, memory, time. Nothing of the run changes by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from foundation.errors import UserError
from foundation.logs import get_logger
from foundation.page.wording import size
from training.assembly import Assembly
from training.batching.batches import BatchPlan
from training.batching.datasets import TrainingData
from training.batching.split import flags_for
from training.devices.distributed import World
from training.devices.free_memory import memory_limit
from training.devices.out_of_memory import release, unless_memory_runs_out
from training.preflight.disk import check_disk, disk_need
from training.preflight.ids import check_ids
from training.preflight.memory import RESERVE, missing_moments, step_memory
from training.preflight.microbatch import FOR_ONE_SEQUENCE, Upcoming
from training.preflight.prediction import Prediction
from training.preflight.trial import Trial, try_step
from training.saving.smaller_microbatch import leave
from training.state import RunState

log = get_logger("training")
T = TypeVar("T")


def check_data(data: TrainingData, world: World, out_dir: Path) -> None:
    """`UserError` on every rank when a token id of the data is outside the vocabulary."""

    def check() -> None:
        for dataset in filter(None, (*data.datasets, data.validation)):
            check_ids(dataset, data.vocab_size, out_dir)

    on_main(world, check)


def on_main(world: World, work: Callable[[], T]) -> T:
    """What rank 0's `work` gives, on every rank; its `UserError` ends them all, and rank 0 says why."""
    value, error = None, None
    if world.is_main:
        try:
            value = work()
        except UserError as problem:
            error = problem
    failed, value = world.same_everywhere((error is not None, value))
    if error is not None:
        raise error
    if failed:
        raise SystemExit(2)
    return value  # type: ignore[no-any-return]


class Preflight:
    """The checks that need the assembled run; every rank makes them at the same points. `assembly` is the run that
    passed them: with a smaller microbatch where the one it came with did not fit."""

    def __init__(self, assembly: Assembly, state: RunState, batch_of: Upcoming, remember: bool = False) -> None:
        """`batch_of(n)` gives a microbatch of n sequences of the run. With `remember`, a trial that runs out of memory
        where other processes wait for it leaves a smaller microbatch for the next start (a resume's)."""
        self._remember = remember
        self.assembly, self._state, self._batch_of = assembly, state, batch_of
        self._device = assembly.device

    def run(self) -> Prediction:
        """Check disk and memory, try a step, predict. `UserError` for what will not fit."""
        assembly, state = self.assembly, self._state
        weights = sum(parameter.numel() for parameter in assembly.snapshot.model.parameters())
        files = sum(len(content) for content in assembly.data.tokenizer.files().values())
        copies = 3 + int(assembly.training.use_ema)
        keep_last = assembly.training.keep_last
        kept = keep_last + assembly.training.keep_best
        disk = disk_need(assembly.directory, weights, copies, kept, files)
        on_main(assembly.world, lambda: check_disk(disk, assembly.directory, keep_last))
        limit = memory_limit(self._device, assembly.training.memory_budget)
        self._check_memory(limit)
        trial = self._try()
        total = assembly.length.steps(state)
        steps = None if total is None else total - state.step
        return Prediction(
            parameters=assembly.snapshot.model.num_parameters(),
            tokens_per_step=assembly.tokens_per_step,
            steps=steps,
            seconds=trial.seconds,
            budget=max(0.0, assembly.length.end - state.elapsed) if total is None else 0.0,
            validations=-(-(steps or 0) // assembly.training.eval_interval) * (2 if assembly.snapshot.average else 1),
            validation_tokens=assembly.data.validation.tokens if assembly.data.validation else 0,
            memory=trial.memory,
            limit=limit,
            disk=disk,
        )

    def settle(self) -> None:
        """Try a step for the sake of what stays of it: DDP groups its buckets anew after its first sum over ranks, and
        three ranks or more add up in another order in other buckets. Without this a resumed run's first step would not
        be that of the run that went on."""
        self._try()

    def _check_memory(self, limit: int) -> None:
        """`UserError` where running out of memory would end the process without a word, or nothing but this holds it
        to its budget."""
        assembly, now = self.assembly, self.assembly.plan
        if self._device.type == "cuda":
            return  # the trial finds out, a budget included
        memory, reason = unless_memory_runs_out(
            lambda: step_memory(assembly.snapshot, assembly.training, self._batch_of, now.batch_size)
        )
        if memory is None:
            raise UserError(self._too_much(f"does not fit, nor does one with a single sequence ({reason})", None))
        if memory.need(now.batch_size) > limit:
            fitting = memory.largest(now.sizes(most=now.batch_size - 1), limit * (1 - RESERVE))
            what = f"takes about {size(memory.need(now.batch_size))} of memory (--preflight false tries all the same)"
            raise UserError(self._too_much(what, now.with_size(fitting) if fitting else None))

    def _try(self) -> Trial:
        """Try a step, with ever smaller microbatches until it fits."""
        while True:
            trial, reason = self._try_once()
            if trial is not None:
                return trial
            self._take_less(reason or "")

    def _try_once(self) -> tuple[Trial | None, str | None]:
        """The step's figures, or why it does not fit, on every rank alike. `UserError` where one runs out of memory
        while the others wait for it."""
        assembly, plan, alone = self.assembly, self.assembly.plan, self.assembly.world.size == 1
        stepper, snapshot = assembly.stepper, assembly.snapshot
        batches = [self._batch_of(plan.batch_size)] * min(2, plan.accumulation_steps)
        if not alone and snapshot.strategy.whole_model:
            beside = missing_moments(snapshot.optimizers)
            _, reason = unless_memory_runs_out(lambda: stepper.try_alone(batches, beside))
            reason = assembly.world.first_of(reason)
            if reason is not None:
                return None, reason
        rate = assembly.training.learning_rate
        trial, reason = unless_memory_runs_out(
            lambda: try_step(stepper, snapshot, batches, plan.accumulation_steps, rate)
        )
        if trial is None and not alone:
            less = plan.smaller()
            if less is not None and self._remember:
                leave(assembly.directory, assembly.training, less.batch_size)
            raise UserError(self._too_much(f"does not fit ({reason})", less))
        return trial, reason

    def _take_less(self, reason: str) -> None:
        """Go on with smaller microbatches, on every rank alike; `UserError` where there are none."""
        assembly, plan = self.assembly, self.assembly.plan.smaller()
        if plan is None:
            raise UserError(self._too_much(f"does not fit ({reason})", None))
        log.warning(
            "a step with %d sequences at a time does not fit the memory (%s): the run takes %d, %d microsteps a step "
            "and the same samples",
            assembly.plan.batch_size,
            reason,
            plan.batch_size,
            plan.accumulation_steps,
        )
        assembly.stepper.forget()
        self.assembly = assembly.with_plan(plan)
        self._state.microbatch = plan.batch_size
        release()

    def _too_much(self, what: str, fitting: BatchPlan | None) -> str:
        """A step that `what`, and the way out: the plan that may fit, or what is left where a sequence is too much."""
        plan, training, length = self.assembly.plan, self.assembly.training, self.assembly.data_config.max_seq_len
        limit = size(memory_limit(self._device, training.memory_budget))
        advice = f"; {FOR_ONE_SEQUENCE}"
        if fitting is not None:
            advice = f". Give {flags_for(fitting, training)} (the same samples a step in smaller pieces)"
        return (
            f"batch_size {plan.batch_size}: a step of {plan.batch_size} x {length} tokens {what}; {limit} may be used "
            f"on {self._device}{advice}"
        )
