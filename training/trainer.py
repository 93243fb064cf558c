"""The loop: step, account, log, validate, save; leave tidily when asked to."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

import torch

from foundation.failpoints import failpoint
from foundation.logs import get_logger
from foundation.streams import derive_seed
from training.batching.batches import BatchStream, Microbatch
from training.devices.out_of_memory import unless_memory_runs_out
from training.evaluation.early_stopping import stopped_early, take_note
from training.going_on import stopped
from training.loggers import Row
from training.optimization.schedule import learning_rate
from training.optimization.stopwatch import Stopwatch
from training.parts import Parts
from training.rows import RowMaker
from training.saving.saver import Saver
from training.signals import StopRequest
from training.state import RunState
from training.step import StepResult
from training.times import Times
from training.watching.faults import FaultWatch
from training.watching.memory import validate, with_less_memory

log = get_logger("training")

EXIT_DIVERGED = 1


class Trainer:
    """Takes `state` through `parts` to its last step."""

    def __init__(self, parts: Parts, state: RunState) -> None:
        self._parts = parts
        self._state = state
        self._stop = StopRequest()
        self._watch = Stopwatch(state, parts.world, agree=parts.length.unit == "seconds")
        self._rows = RowMaker(state, parts.throughput, parts.task.losses)
        self._saver = Saver(parts, state)
        self._faults = FaultWatch(parts, state)
        self._save_is_asked = self._save_is_late = False
        self._times = Times()

    def run(self) -> int:
        """Train to the end; gives the process's exit code.

        0: finished. 75 or 130: stopped by a signal, saved, resumable. 1: a step that was not finite, or too many of
        them in a row, as configured; the last checkpoint is untouched.
        """
        hurried = False
        with self._stop:  # also while an error is put in order: torchrun's SIGTERM follows another process's end
            try:
                self._parts.loggers.begin()
                code = self._loop()
                if code == 0:
                    self._finish()
            except KeyboardInterrupt:  # the second Ctrl-C; every row is in its file already
                hurried = True
                raise
            except BaseException:
                self._saver.abandon()
                raise
            finally:
                if not hurried:
                    self._parts.loggers.close()
        return code

    def _loop(self) -> int:
        """All that is left of the run; gives the exit code."""
        if self._state.pending_row is not None:
            if not self._complete(self._state.pending_row):
                return self._leave()
            self._save(due=True)
        code = None
        while code is None:
            with self._parts.stream as stream:
                code = self._steps(stream)
        return code

    def _steps(self, stream: BatchStream) -> int | None:
        """The steps of `stream`; gives the exit code, or None when another stream takes its place."""
        if self._over:
            return 0
        began = time.perf_counter()
        for batches in stream:
            result = self._step(batches)
            if self._parts.stream is not stream:
                return None
            if result is None:
                return self._leave()
            self._account(result, time.perf_counter() - began)
            if self._faults.hopeless:
                self._parts.loggers.log(self._rows.make(result, self._rate, self._progress))
                return self._give_up()
            if not self._after_step(result):
                return self._leave()
            if self._over:
                return 0 if self._worth_keeping() else self._give_up()
            began = time.perf_counter()
        return 0

    def _step(self, batches: Sequence[Microbatch]) -> StepResult | None:
        """One step; its randomness is a function of seed, step and rank. None when interrupted, or when memory ran out
        and the parts are others now."""
        parts, step = self._parts, self._state.step
        torch.manual_seed(derive_seed(parts.training.seed, "step", step, parts.world.rank))
        self._progress = parts.length.progress(self._state)
        self._rate = learning_rate(parts.length.warmed(self._state), self._progress, parts.training)
        result, reason = unless_memory_runs_out(lambda: parts.stepper.run(batches, self._rate, self._interrupted))
        if reason is not None:
            self._parts = with_less_memory(parts, self._state, reason)
        return result

    @property
    def _over(self) -> bool:
        """Whether the run is at its end."""
        return self._parts.length.finished(self._state) or stopped_early(self._parts.training, self._state)

    def _interrupted(self) -> bool:
        """Whether any rank was asked to stop; every rank asks at the same points and hears the same. So it is with a
        save that somebody asked for."""
        stop, save = self._parts.world.total([int(self._stop.requested), int(self._stop.save)])
        if save:
            self._stop.save, self._save_is_asked = False, True
        return stop > 0

    def _account(self, result: StepResult, seconds: float) -> None:
        """Count the step: what it used, how it went."""
        state, first = self._state, self._state.sample
        state.step += 1
        state.sample += self._parts.plan.global_batch
        state.tokens += result.tokens
        average = self._parts.snapshot.average
        if average is not None and not result.skipped:
            average.update()
        failpoint("training.step")
        self._watch.tick()
        if self._parts.length.unit == "seconds" and state.step == self._parts.length.warmup_steps:
            state.warmed_after = state.elapsed
        self._rows.count(seconds)
        first_step = self._rows.busy == seconds
        self._times.add("first step" if first_step else "steps", seconds)
        if first_step:  # what is there now stays: the collector need not look through all of it again and again
            gc.collect()
            gc.freeze()
        self._faults.account(result, self._parts.plan, first)
        if self._parts.progress:
            self._parts.progress.advance(result.tokens)

    def _after_step(self, result: StepResult) -> bool:
        """Log, validate and save where due. False when interrupted."""
        step, config = self._state.step, self._parts.training
        last = self._parts.length.finished(self._state)
        validate = last or step % config.eval_interval == 0
        if validate or last or result.skipped or step % self._parts.logging.log_interval == 0:
            row = self._rows.make(result, self._rate, self._progress)
            if not validate:
                self._parts.loggers.log(row)
            elif not self._complete(row):
                self._state.pending_row = row
                return False
        self._save_is_late |= step % config.save_interval == 0
        # After a bad step nothing replaces the last good checkpoint: what broke it may lie in the state itself.
        sound = self._state.bad_steps == 0
        due = self._worth_keeping() if self._over else sound and (self._save_is_asked or self._save_is_late)
        self._save(due)
        return True

    def _worth_keeping(self) -> bool:
        """Whether the weights may be saved: after bad steps, if they are finite. Every rank asks."""
        return self._state.bad_steps == 0 or self._parts.stepper.weights_are_finite()

    def _save(self, due: bool) -> None:
        if due:
            self._watch.tick()  # a validation since the step is part of the run's time, which a resume goes on from
        with self._times.part("waiting for saves"):
            self._saver.write(checkpoint_is_due=due)
            if due and self._save_is_asked:
                self._saver.wait()  # who asked may end the process as soon as he reads this
                log.info("SIGUSR1: step %d is saved, the run goes on", self._state.step)
        if due:
            self._save_is_asked = self._save_is_late = False
            self._note("saved")

    def _note(self, kind: str, **facts: Any) -> None:
        """Tell the loggers that something happened, and where the time went so far."""
        event = {"event": kind, "step": self._state.step, "seconds": self._times.rounded(), **facts}
        self._parts.loggers.note(event)

    def _complete(self, row: Row) -> bool:
        """Validate and log `row` with the result; the model is kept when it is the best. False when interrupted."""
        validation = self._parts.validation
        if validation is not None:
            with self._times.part("validation"):
                values = validate(self._parts, validation, self._interrupted)
            if values is None:
                return False
            row = {**row, **values}
            self._state.validated = {"step": self._state.step, "values": dict(values)}
            value = row[validation.deciding]
            self._saver.judge(validation.measure, value, validation.identity)
            take_note(self._state, value, validation.identity, self._parts.training.min_delta)
        self._state.pending_row = None
        self._parts.loggers.log(row)
        if self._parts.sampling:
            with self._times.part("samples"):
                samples = self._parts.sampling.make(self._state)
            if samples:
                self._parts.loggers.show(self._state.step, samples)
        return True

    def _leave(self) -> int:
        """Save where we are after a signal."""
        self._save_is_asked = False  # which would tell that the run goes on
        saved = self._worth_keeping()
        self._save(due=saved)
        self._saver.wait()
        self._note("stopped", reason=self._stop.name)
        steps = self._parts.length.steps_in_words(self._state)
        log.warning("%s", stopped(self._state, steps, self._parts.directory.newest if saved else None))
        return self._stop.exit_code

    def _give_up(self) -> int:
        self._saver.wait()
        self._note("diverged", reason=f"{self._state.bad_steps} steps in a row were not finite")
        self._faults.explain()
        return EXIT_DIVERGED

    def _finish(self) -> None:
        """The last model, and the account of the time."""
        with self._times.part("waiting for saves"):
            self._saver.write_final()
        early = {} if self._parts.length.finished(self._state) else {"reason": "early stopping"}
        self._note("finished", **early)
        stream = self._parts.stream
        if self._rows.busy:
            log.info(
                "%.0f s of steps; preparing batches took %.2f%% of it, waiting for them %.2f%%",
                self._rows.busy,
                100 * stream.built / self._rows.busy,
                100 * stream.waited / self._rows.busy,
            )
        if self._state.skipped:
            log.warning("%d steps were skipped because a number was not finite", self._state.skipped)
        if self._state.best:
            log.info("%s", self._state.best_in_words)
