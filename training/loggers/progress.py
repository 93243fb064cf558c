"""The progress people watch: a bar on a terminal, plain lines in train.log and where there is no terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Literal

from tqdm import tqdm

from foundation.logs import ROOT, get_logger
from foundation.page.wording import clip, printable
from training.loggers import Logger, Row, Sample

_LINE_SECONDS = 10.0
_SAMPLE_COLUMNS = 160


class Progress(Logger):
    """Shows loss, learning rate, speed and time left of a run from `done` to `total` (None: nobody knows), which count
    `unit`; of a run that ends by the clock `seconds_left` says when.

    Every validation gets a line, with the samples below it. Other rows get one only in the log file, or every ten
    seconds without a terminal.
    """

    def __init__(
        self,
        done: int,
        total: int | None,
        unit: Literal["steps", "tokens"] = "steps",
        seconds_left: float | None = None,
    ) -> None:
        self._done, self._total, self._unit, self._seconds_left = done, total, unit, seconds_left
        self._log = get_logger("progress")
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="tok" if unit == "tokens" else "step",
            unit_scale=unit == "tokens",
            dynamic_ncols=True,
            smoothing=0.05,
            disable=not self._terminal,
        )
        self._began = time.monotonic()
        self._last_line = 0.0

    def advance(self, tokens: int) -> None:
        """One more step is done, of so many tokens."""
        if self._unit == "tokens" and self._total:
            self._bar.update(min(tokens, self._total - self._bar.n))  # the last step may go beyond
        else:
            self._bar.update(1)

    def log(self, row: Row) -> None:
        """Update the bar; write a line where one is due."""
        now = time.monotonic()
        left = self._left(row, now)
        text = self._text(row) + left
        shown = f"loss {row['loss']:.4f}, lr {row['lr']:.2e}, {_speed(row)}"
        self._bar.set_postfix_str(shown if self._total else f"{shown}{left.replace('  ', ', ')}")  # else tqdm knows
        if "val_loss" in row or (not self._terminal and now - self._last_line > _LINE_SECONDS):
            self._last_line = now
            self._log.info("%s", text)
        else:
            self._to_file_only(text)

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """A line for each sample."""
        for sample in samples:
            prompt, text = (printable(" ".join(sample[key].split())) for key in ("prompt", "text"))
            self._log.info("  sample: %s", clip(f"{prompt} → {text}" if prompt else text, _SAMPLE_COLUMNS))

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _text(self, row: Row) -> str:
        of = ""
        if self._total:
            of = f"/{self._total}" if self._unit == "steps" else f" ({row['tokens']:,}/{self._total:,} tokens)"
        text = f"step {row['step']}{of}  loss {row['loss']:.4f}"
        text += _parts(row, "")
        if "val_loss" in row:
            text += f"  val {row['val_loss']:.4f}"
        if "val_loss_ema" in row:
            text += f" (EMA {row['val_loss_ema']:.4f})"
        text += _parts(row, "val_") + _accuracies(row)
        return f"{text}  lr {row['lr']:.2e}  grad {row['grad_norm']:.2f}  {_speed(row)}"

    def _left(self, row: Row, now: float) -> str:
        """The time left: at the pace so far, or of a time budget."""
        if self._total:
            at = row["tokens" if self._unit == "tokens" else "step"]
            done, first = at / self._total, self._done / self._total
            seconds = (now - self._began) / (done - first) * (1 - done) if first < done else 0.0
        else:
            seconds = (self._seconds_left or 0.0) - (now - self._began)
        return f"  {tqdm.format_interval(seconds)} left" if seconds > 0 else ""

    def _to_file_only(self, text: str) -> None:
        record = self._log.makeRecord(self._log.name, logging.INFO, "", 0, text, (), None)
        for handler in logging.getLogger(ROOT).handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)


def _parts(row: Row, prefix: str) -> str:
    """` (mlm 6.1234, nsp 0.6789)`: what a loss is the sum of, where it is one."""
    keys = [
        key for key in row if key.endswith("_loss") and key != "val_loss" and key.startswith("val_") == bool(prefix)
    ]
    shown = ", ".join(f"{key.removeprefix(prefix).removesuffix('_loss')} {row[key]:.4f}" for key in keys)
    return f" ({shown})" if shown else ""


def _accuracies(row: Row) -> str:
    """`  nsp accuracy 81.25%`: the shares of right answers in a validation, where the task counts them."""
    keys = [key for key in row if key.startswith("val_") and key.endswith("accuracy")]
    return "".join(f"  {key.removeprefix('val_').replace('_', ' ')} {row[key]:.2%}" for key in keys)


def _speed(row: Row) -> str:
    """Tokens a second, and the share of the device's peak where that is known."""
    speed = f"{row['tokens_per_second']:,.0f} tok/s"
    return f"{speed}, MFU {100 * row['mfu']:.1f}%" if row.get("mfu") is not None else speed
