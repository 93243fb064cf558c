"""The loop: step, account, log, validate, save; leave tidily when asked to."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from foundation.logs import get_logger
from foundation.streams import derive_seed
from training.batching.batches import BatchStream, Microbatch
from training.loggers import Row
from training.optimization.schedule import learning_rate
from training.parts import Parts
from training.saving import checkpoint
from training.saving.model_output import save_model
from training.signals import StopRequest
from training.state import RunState
from training.step import StepResult

log = get_logger("training")

EXIT_DIVERGED = 1


class Trainer:
    """Takes `state` through `parts` to its last step."""

    def __init__(self, parts: Parts, state: RunState) -> None:
        self._parts = parts
        self._state = state
        self._stop = StopRequest()
        self._row_seconds = 0.0  # spent on steps since the last row
        self._row_tokens = state.tokens  # at the last row
        self._busy = 0.0  # spent on steps by this process

    def run(self) -> int:
        """Train to the end; gives the process's exit code.

        0: finished. 75 or 130: stopped by a signal, saved, resumable. 1: too many steps in a row were not
        finite; the last checkpoint is untouched.
        """
        hurried = False
        try:
            with self._stop, self._parts.stream as stream:
                code = self._loop(stream)
                if code == 0:
                    self._finish()
        except KeyboardInterrupt:  # the second Ctrl-C; every row is in its file already
            hurried = True
            raise
        finally:
            for logger in self._parts.loggers if not hurried else ():
                logger.close()
        return code

    def _loop(self, stream: BatchStream) -> int:
        if self._state.pending_row is not None:
            if not self._complete(self._state.pending_row):
                return self._leave()
            self._save()
        began = time.perf_counter()
        for batches in stream:
            result = self._step(batches)
            if result is None:
                return self._leave()
            seconds = time.perf_counter() - began
            self._account(result, seconds)
            if self._state.bad_steps >= self._parts.training.max_bad_steps:
                return self._give_up(result)
            if not self._after_step(result):
                return self._leave()
            began = time.perf_counter()
        return 0

    def _step(self, batches: Sequence[Microbatch]) -> StepResult | None:
        """One step; its randomness is a function of seed, step and rank. None when interrupted."""
        parts, step = self._parts, self._state.step
        torch.manual_seed(derive_seed(parts.training.seed, "step", step, parts.world.rank))
        self._rate = learning_rate(step, parts.total_steps, parts.training)
        return parts.stepper.run(batches, self._rate, self._interrupted)

    def _interrupted(self) -> bool:
        """Whether any rank was asked to stop; every rank asks at the same points and hears the same."""
        return self._parts.world.total([int(self._stop.requested)])[0] > 0

    def _account(self, result: StepResult, seconds: float) -> None:
        state, first = self._state, self._state.sample
        state.step += 1
        state.sample += self._parts.plan.global_batch
        state.tokens += result.predicted
        self._busy += seconds
        self._row_seconds += seconds
        if result.skipped:
            state.skipped += 1
            log.warning(
                "step %d skipped: loss %s, gradient norm %s (samples %d to %d)%s",
                state.step,
                result.loss,
                result.grad_norm,
                first,
                state.sample - 1,
                "; lowered float16's loss scale" if result.overflow else "",
            )
        state.bad_steps = state.bad_steps + 1 if result.skipped and not result.overflow else 0
        if self._parts.progress:
            self._parts.progress.advance()

    def _after_step(self, result: StepResult) -> bool:
        """Log, validate and save where due. False when interrupted."""
        step, config = self._state.step, self._parts.training
        last = step == self._parts.total_steps
        validate = self._parts.validation is not None and (last or step % config.eval_interval == 0)
        if validate or last or result.skipped or step % self._parts.logging.log_interval == 0:
            row = self._row(result)
            if not validate:
                self._log(row)
            elif not self._complete(row):
                self._state.pending_row = row
                return False
        if last or step % config.save_interval == 0:
            self._save()
        return True

    def _row(self, result: StepResult) -> Row:
        state = self._state
        speed = (state.tokens - self._row_tokens) / max(self._row_seconds, 1e-9)
        self._row_tokens, self._row_seconds = state.tokens, 0.0
        row: Row = {
            "step": state.step,
            "tokens": state.tokens,
            "loss": result.loss,
            "lr": self._rate,
            "grad_norm": result.grad_norm,
            "tokens_per_second": round(speed, 1),
        }
        if result.skipped:
            row["skipped"] = True
        return row

    def _complete(self, row: Row) -> bool:
        """Validate, log `row` with the result, keep the model when it is the best. False when interrupted."""
        validation = self._parts.validation
        if validation is not None:
            values = validation.run(self._interrupted)
            if values is None:
                return False
            row = {**row, **values}
        self._state.pending_row = None
        self._log(row)
        if validation is not None and self._is_best(row[validation.deciding], validation.identity):
            self._state.best = {
                "val_loss": row[validation.deciding],
                "step": self._state.step,
                "validation": validation.identity,
            }
            self._save_model(best=True)
        return True

    def _is_best(self, value: float, identity: str) -> bool:
        best = self._state.best
        return math.isfinite(value) and (best is None or best["validation"] != identity or value < best["val_loss"])

    def _log(self, row: Row) -> None:
        for logger in self._parts.loggers:
            logger.log(row)

    def _save_model(self, best: bool) -> None:
        parts = self._parts
        if parts.world.is_main:
            path = parts.directory.best if best else parts.directory.final
            save_model(path, parts.snapshot.model, parts.data, self._state)

    def _save(self) -> None:
        parts = self._parts
        if not parts.world.is_main:
            return
        for logger in parts.loggers:
            logger.save()
        checkpoint.save(parts.directory.path, parts.snapshot.take(self._state), parts.training.keep_last)
        if parts.validation is None:
            self._save_model(best=True)

    def _leave(self) -> int:
        """Save where we are after a signal."""
        self._save()
        log.warning(
            "stopped at step %d of %d and saved %s; continue with: python train.py --resume --out_dir %s",
            self._state.step,
            self._parts.total_steps,
            self._parts.directory.newest,
            self._parts.directory.path,
        )
        return self._stop.exit_code

    def _give_up(self, result: StepResult) -> int:
        self._log(self._row(result))
        log.error(
            "stopped at step %d: %d steps in a row had a loss or gradient that is not finite. The checkpoints "
            "before them are intact. Look at the samples named above, or resume with a lower rate "
            "(--resume --allow_change learning_rate --learning_rate …)",
            self._state.step,
            self._state.bad_steps,
        )
        return EXIT_DIVERGED

    def _finish(self) -> None:
        """The last model, and the account of the time."""
        self._save_model(best=False)
        stream, best = self._parts.stream, self._state.best
        if self._busy:
            log.info(
                "%.0f s of steps; preparing batches took %.2f%% of it, waiting for them %.2f%%",
                self._busy,
                100 * stream.built / self._busy,
                100 * stream.waited / self._busy,
            )
        if self._state.skipped:
            log.warning("%d steps were skipped because a loss or gradient was not finite", self._state.skipped)
        if best:
            log.info("best validation loss %.4f at step %d", best["val_loss"], best["step"])
