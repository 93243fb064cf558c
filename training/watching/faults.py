"""Steps that went wrong: counted, named by their samples, answered; and the end of a run that has too many."""

from __future__ import annotations

import math
from typing import Any

from foundation.logs import get_logger
from training.batching.batches import BatchPlan
from training.parts import Parts
from training.state import RunState
from training.step import StepResult
from training.watching.places import documents, in_words, microstep_samples
from training.watching.spikes import SpikeDetector

log = get_logger("training")


class FaultWatch:
    """Keeps the account of bad steps and spikes in `state`, and tells people and loggers about them."""

    def __init__(self, parts: Parts, state: RunState) -> None:
        self._parts, self._state = parts, state
        self._config = parts.training
        self._spikes = SpikeDetector(parts.training.spike_threshold, state.usual_loss)

    def account(self, result: StepResult, plan: BatchPlan, first: int) -> None:
        """Take note of the step that took the samples from `first` up to `state.sample`. Every rank calls it."""
        state = self._state
        state.bad_steps = state.bad_steps + 1 if result.skipped and not result.overflow else 0
        if result.skipped:
            state.skipped += 1
            self._tell_skipped(result, plan, first)
        elif spike := self._spikes.see(result.loss):
            worst = max(range(len(result.microsteps)), key=result.microsteps.__getitem__, default=0)
            ranges = microstep_samples(plan, first, [worst])
            log.warning(
                "step %d: loss %.4f where %.4f was expected (samples %s are the worst; see spikes.jsonl)",
                state.step,
                spike.loss,
                spike.expected,
                in_words(ranges),
            )
            self._note("spike", result, first, ranges, expected=spike.expected, deviation=spike.deviation)

    @property
    def hopeless(self) -> bool:
        """Whether the run ends here: too many bad steps in a row, or one where that is one too many."""
        most = 1 if self._config.on_nonfinite == "stop" else self._config.max_bad_steps
        return self._state.bad_steps >= most

    def explain(self) -> None:
        """Say why the run ends."""
        if self._config.on_nonfinite == "stop":
            log.error(
                "stopped at step %d, as on_nonfinite asks. The checkpoints before it are intact. Look at the samples "
                "named above, or skip the step with --resume --on_nonfinite skip",
                self._state.step,
            )
            return
        log.error(
            "stopped at step %d: %d steps in a row had a loss, gradient or optimizer state that is not finite. The "
            "checkpoints before them are intact. Look at the samples named above, or resume with a lower rate "
            "(--resume --allow_change learning_rate --learning_rate …)",
            self._state.step,
            self._state.bad_steps,
        )

    def _tell_skipped(self, result: StepResult, plan: BatchPlan, first: int) -> None:
        """A warning with the samples: of the microsteps whose loss is not finite, or of all when each loss is."""
        bad = [number for number, loss in enumerate(result.microsteps) if not math.isfinite(loss)]
        ranges = microstep_samples(plan, first, bad or range(plan.accumulation_steps))
        reason = "; lowered float16's loss scale" if result.overflow else ""
        if result.broken_moments:
            reason = f"; {self._repair(result)}"
        log.warning(
            "step %d skipped: loss %s, gradient norm %s (samples %s)%s",
            self._state.step,
            result.loss,
            result.grad_norm,
            in_words(ranges),
            reason,
        )
        if not result.overflow:
            self._note("skipped", result, first, ranges, broken_moments=result.broken_moments)

    def _repair(self, result: StepResult) -> str:
        """Answer broken moments; gives what was done in words."""
        what = f"{result.broken_moments} tensor(s) of the optimizer's state were not finite"
        if self._config.on_nonfinite == "stop":
            return what
        names = self._parts.stepper.moments.repair()
        where = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return f"{what}, their averages start anew ({where or 'on other processes'})"

    def _note(self, event: str, result: StepResult, first: int, ranges: list[list[int]], **more: Any) -> None:
        if not self._parts.world.is_main:
            return
        note = {
            "event": event,
            "step": self._state.step,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "samples": [first, self._state.sample - 1],
            "suspects": ranges,
            **more,
            "documents": documents(self._parts.samples, ranges),
        }
        self._parts.loggers.note(note)
