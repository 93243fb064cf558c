"""What a run does when a step does not fit into memory: the same samples in smaller microbatches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from foundation.errors import UserError
from foundation.logs import get_logger
from training.devices.out_of_memory import is_out_of_memory, release, smaller
from training.evaluation.validation import Validation
from training.parts import Parts
from training.state import RunState

log = get_logger("training")


def with_less_memory(parts: Parts, state: RunState, reason: str) -> Parts:
    """`parts` whose microbatches are half as large or less, for the step after `state` once more; the choice is
    recorded in `state`, and so in its checkpoints.

    `UserError` where that cannot be: a single sequence does not fit, the optimizer has already moved some weights,
    or other processes wait for this one's gradients.
    """
    plan = smaller(parts.plan)
    step, size = state.step + 1, parts.plan.batch_size
    reason = reason.splitlines()[0]
    if plan is None:
        raise UserError(
            f"memory ran out at step {step} with a single sequence at a time ({reason}). Use "
            "--activation_checkpointing true, a smaller --max_seq_len, a smaller preset, or several GPUs with --fsdp"
        )
    if parts.world.size > 1 or parts.stepper.moving:
        flags = f"--batch_size {plan.batch_size} --accumulation_steps {plan.accumulation_steps}"
        raise UserError(
            f"memory ran out at step {step} with {size} sequences at a time on process {parts.world.rank} ({reason}). "
            f"Continue from the last checkpoint with the same samples in smaller microbatches: the same command with "
            f"--resume {flags}"
        )
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
    parts.loggers.note({"event": "out_of_memory", "step": step, "from": size, "to": plan.batch_size})
    return replace(parts, plan=plan, stream=parts.restart(state, plan))


def validate(validation: Validation, interrupted: Callable[[], bool], alone: bool) -> dict[str, float] | None:
    """`validation.run`, with half of the rows at a time after each time that memory runs out.

    `UserError` where a single row does not fit, or where this process is not `alone`: the others wait for its sums.
    """
    while True:
        try:
            return validation.run(interrupted)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        rows = validation.rows
        if rows == 1 or not alone:
            raise UserError(
                f"memory ran out in a validation with {rows} sequences at a time ({reason}). Continue from the last "
                "checkpoint with a smaller --batch_size and as many more --accumulation_steps"
            )
        release()
        validation.rows = rows // 2
        log.warning("memory ran out in a validation with %d sequences at a time (%s): now %d", rows, reason, rows // 2)
