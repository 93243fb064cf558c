"""What a run does when a step does not fit into memory: the same samples in smaller microbatches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from foundation.errors import UserError
from foundation.logs import get_logger
from training.batching.batches import BatchPlan
from training.devices.out_of_memory import release, unless_memory_runs_out
from training.evaluation.validation import Validation
from training.parts import Parts
from training.saving import checkpoint
from training.saving.smaller_microbatch import leave
from training.state import RunState

log = get_logger("training")


def with_less_memory(parts: Parts, state: RunState, reason: str) -> Parts:
    """`parts` whose microbatches are half as large or less, for the step after `state` once more; the choice is
    recorded in `state`, and so in its checkpoints. `reason` is a line.

    `UserError` where that cannot be: a single sequence does not fit, the optimizer has already moved some weights,
    or other processes wait for this one's gradients. The last two leave the smaller microbatch for the next start.
    """
    plan = parts.plan.smaller()
    step, size = state.step + 1, parts.plan.batch_size
    if plan is None:
        raise UserError(
            f"memory ran out at step {step} with a single sequence at a time ({reason}). Use "
            "--activation_checkpointing true, a smaller --max_seq_len, a smaller preset, or several GPUs with --fsdp"
        )
    parts.loggers.note({"event": "out_of_memory", "step": step, "from": size, "to": plan.batch_size})
    if parts.world.size > 1 or parts.stepper.moving:
        where = f"at step {step} with {size} sequences at a time on process {parts.world.rank}"
        raise UserError(f"memory ran out {where} ({reason}). {_next_start(parts, plan)}")
    parts.stepper.forget()
    if parts.validation is not None:
        parts.validation.rows = min(parts.validation.rows, plan.batch_size)
    release()
    state.microbatch = plan.batch_size
    log.warning(
        "memory ran out at step %d with %d sequences at a time (%s): the run goes on with %d, %d microsteps a step and "
        "the same samples",
        step,
        size,
        reason,
        plan.batch_size,
        plan.accumulation_steps,
    )
    return replace(parts, plan=plan, stream=parts.restart(state, plan))


def validate(parts: Parts, validation: Validation, interrupted: Callable[[], bool]) -> dict[str, float] | None:
    """`validation.run`, with half of the rows at a time after each time that memory runs out.

    `UserError` where a single row does not fit, or where other processes wait for this one's sums.
    """
    while True:
        values, reason = unless_memory_runs_out(lambda: validation.run(interrupted))
        if reason is None:
            return values
        rows, plan = validation.rows, parts.plan.smaller()
        if parts.world.size > 1 and plan is not None:
            where = f"in a validation with {rows} sequences at a time on process {parts.world.rank}"
            raise UserError(f"memory ran out {where} ({reason}). {_next_start(parts, plan)}")
        if rows == 1:
            raise UserError(
                f"memory ran out in a validation with a single sequence at a time ({reason}). Use a smaller "
                "--max_seq_len or a smaller preset"
            )
        validation.rows = rows // 2
        log.warning("memory ran out in a validation with %d sequences at a time (%s): now %d", rows, reason, rows // 2)


def _next_start(parts: Parts, plan: BatchPlan) -> str:
    """Leave `plan`'s microbatch for the next start; what to do for it, in words."""
    leave(parts.directory, parts.training, plan.batch_size)
    saved = checkpoint.saved_steps(parts.directory.path)
    begins = "goes on from the last checkpoint" if saved else "begins again, for nothing is saved yet,"
    return (
        f"The same command with --resume {begins} with the same samples, {plan.batch_size} sequences at a time in "
        f"{plan.accumulation_steps} microsteps a step"
    )
