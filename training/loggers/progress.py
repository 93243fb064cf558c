"""The progress people watch: a bar on a terminal, plain lines in train.log and where there is no terminal."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

from foundation.logs import ROOT, get_logger
from training.loggers import Row

_LINE_SECONDS = 10.0


class Progress:
    """Shows loss, learning rate, tokens/s and time left of a run from step `done` to `total` (None: nobody knows).

    Every validation gets a line. Other rows get one only in the log file, or every ten seconds without a
    terminal.
    """

    def __init__(self, done: int, total: int | None) -> None:
        self._done, self._total = done, total
        self._log = get_logger("progress")
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            disable=not self._terminal,
        )
        self._began = time.monotonic()
        self._last_line = 0.0

    def advance(self) -> None:
        """One more step is done."""
        self._bar.update(1)

    def log(self, row: Row) -> None:
        """Update the bar; write a line where one is due."""
        text = self._text(row)
        self._bar.set_postfix_str(f"loss {row['loss']:.4f}, lr {row['lr']:.2e}, {row['tokens_per_second']:,.0f} tok/s")
        now = time.monotonic()
        if "val_loss" in row or (not self._terminal and now - self._last_line > _LINE_SECONDS):
            self._last_line = now
            self._log.info("%s", text)
        else:
            self._to_file_only(text)

    def save(self) -> None:
        """Nothing is pending."""

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _text(self, row: Row) -> str:
        of = f"/{self._total}" if self._total else ""
        text = f"step {row['step']}{of}  loss {row['loss']:.4f}"
        if "val_loss" in row:
            text += f"  val {row['val_loss']:.4f}"
        text += f"  lr {row['lr']:.2e}  grad {row['grad_norm']:.2f}  {row['tokens_per_second']:,.0f} tok/s"
        steps = row["step"] - self._done
        if self._total and steps > 0 and row["step"] < self._total:
            left = (time.monotonic() - self._began) / steps * (self._total - row["step"])
            text += f"  {tqdm.format_interval(left)} left"
        return text

    def _to_file_only(self, text: str) -> None:
        record = self._log.makeRecord(self._log.name, logging.INFO, "", 0, text, (), None)
        for handler in logging.getLogger(ROOT).handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)
