"""How long a run is, in steps, tokens or time, and how far it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from training.config import TrainingConfig
from training.state import RunState

FIRST = 0.01
"""Share of the peak rate that the first step of a warmup in time has."""


@dataclass(frozen=True)
class RunLength:
    """The end of a run, and the way there as a pure function of its state.

    `per_step` is how much of `unit` a step takes: 1 step, at most this many tokens, for seconds 0 (nobody knows).
    `usual` is what it takes on average, which is less tokens where rows have padding.
    """

    unit: Literal["steps", "tokens", "seconds"]
    end: float
    per_step: float
    warmup_steps: int = 0
    warmup_ratio: float | None = None  # of the way to `end`, in place of warmup_steps
    usual: float = 1.0

    def finished(self, state: RunState) -> bool:
        """Whether the last step is done."""
        return self._position(state) >= self.end

    def warmed(self, state: RunState) -> float:
        """Share of the peak rate that the linear warmup gives the next step; 1 when it is over.

        It is the share of the warmup that is done after the step, so that the first one already moves. How much of a
        time budget a step takes nobody knows: the share before it, but `FIRST` at least.
        """
        if self.warmup_ratio is None:
            return min(1.0, (state.step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        done = self._position(state) + self.per_step
        warmup = self.warmup_ratio * self.end
        return min(1.0, max(FIRST, done / warmup)) if warmup else 1.0

    def progress(self, state: RunState) -> float:
        """Where the next step lies between the end of the warmup (0) and the last step (1), for the learning rate.

        With a time budget, whose last step nobody knows in advance: the elapsed share of what the warmup leaves of it;
        below 0 while a warmup of `warmup_ratio` lasts, 0 while one of `warmup_steps` does.
        """
        if self.unit == "seconds" and self.warmup_ratio is None and state.step < self.warmup_steps:
            return 0.0
        warmup = self._warmup_before(state)
        last = self.end if not self.per_step else (math.ceil(self.end / self.per_step) - 1) * self.per_step
        if last <= warmup:
            return float(self._position(state) > warmup)
        share = (self._position(state) - warmup) / (last - warmup)
        return min(1.0, max(0.0, share) if self.per_step else share)

    def steps(self, state: RunState) -> int | None:
        """All steps of the run, those of `state` included; of a run of tokens about so many. None for a time budget."""
        if not self.per_step:
            return None
        return state.step + max(0, math.ceil((self.end - self._position(state)) / self.usual))

    def steps_in_words(self, state: RunState) -> str:
        """The same for a sentence."""
        if not self.per_step:
            return "as many as the time allows"
        return f"{'about ' if self.usual < self.per_step else ''}{self.steps(state)}"

    def _warmup_before(self, state: RunState) -> float:
        """Length of the warmup in `unit`; of one in steps under a time budget it is known when it is over."""
        if self.warmup_ratio is not None:
            return self.warmup_ratio * self.end
        return self.warmup_steps * self.per_step if self.per_step else state.warmed_after or 0.0

    def _position(self, state: RunState) -> float:
        return {"steps": state.step, "tokens": state.tokens, "seconds": state.elapsed}[self.unit]


def run_length(
    config: TrainingConfig,
    state: RunState,
    samples_per_epoch: int,
    global_batch: int,
    sequence_length: int,
    tokens_a_row: float,
) -> RunLength:
    """The length that `config` asks for: `max_steps`, `max_tokens`, `time_budget`, or else `epochs`. `tokens_a_row` is
    what a row of `sequence_length` places holds on average.

    An epoch run ends with the first step by which its passes are complete; that step may take its remaining samples
    from the pass after. A token run ends with the step that reaches its tokens.
    """
    warmup = (config.warmup_steps or 0, config.warmup_ratio)
    if config.time_budget is not None:
        return RunLength("seconds", config.time_budget, 0, *warmup)
    if config.max_tokens is not None:
        most, usual = global_batch * sequence_length, global_batch * tokens_a_row
        return RunLength("tokens", config.max_tokens, most, *warmup, usual)
    if config.max_steps is not None:
        return RunLength("steps", config.max_steps, 1, *warmup)
    left = math.ceil(config.epochs * samples_per_epoch) - state.sample
    return RunLength("steps", state.step + max(0, math.ceil(left / global_batch)), 1, *warmup)
