"""training_history.png: the run at a glance, for people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from foundation import atomic
from foundation.logs import get_logger
from training.loggers import Row

log = get_logger("training")

_REDRAW_SECONDS = 60.0
_TRAIN, _VALIDATION, _RATE = "#4c78a8", "#e45756", "#7a7a7a"


class HistoryPlot:
    """Redraws `image` from `metrics` (metrics.jsonl, so that a resumed run shows its whole history).

    Drawing takes about a second: it happens with checkpoints, at most once a minute, and at the end.
    """

    def __init__(self, metrics: Path, image: Path) -> None:
        self._metrics, self._image = metrics, image
        self._drawn = time.monotonic()

    def log(self, row: Row) -> None:
        """Rows are read from the file."""

    def save(self) -> None:
        """Redraw when the picture is old enough."""
        if time.monotonic() - self._drawn > _REDRAW_SECONDS:
            self._draw()

    def close(self) -> None:
        """The last picture."""
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        try:
            rows = read_metrics(self._metrics)
            if rows:
                draw_history(rows, self._image)
        except OSError as error:  # a full disk, say: no reason to lose the run, or to hide its own message
            log.warning("%s: not drawn (%s)", self._image, error.strerror)


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def _column(rows: list[Row], key: str) -> tuple[list[int], np.ndarray]:
    """Steps and values of the rows that have `key`; null becomes NaN, which leaves a gap in the line."""
    chosen = [row for row in rows if key in row]
    return [row["step"] for row in chosen], np.array([row[key] for row in chosen], dtype=float)


def smooth(values: np.ndarray, span: int) -> np.ndarray:
    """Exponential moving average over about `span` values, unbiased at the start; NaN is passed over."""
    decay = 1 - 1 / max(1, span)
    total = weight = 0.0
    out = np.empty_like(values)
    for place, value in enumerate(values):
        if np.isfinite(value):
            total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        out[place] = total / weight if weight else np.nan
    return out


def draw_history(rows: list[Row], path: Path) -> None:
    """Training loss (each step pale, smoothed strong), validation loss, and the learning rate below."""
    from matplotlib.backends.backend_agg import (
        FigureCanvasAgg,  # slow to import, and no window is ever opened
    )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    _draw_losses(top, rows)
    steps, rates = _column(rows, "lr")
    bottom.plot(steps, rates, color=_RATE, linewidth=1.5)
    bottom.set(ylabel="learning rate", xlabel="step", ylim=(0, None))
    bottom.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (top, bottom):
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    with atomic.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _draw_losses(axes: Any, rows: list[Row]) -> None:
    steps, losses = _column(rows, "loss")
    axes.plot(steps, losses, color=_TRAIN, alpha=0.25, linewidth=1, label="training, each logged step")
    span = max(1, min(50, len(losses) // 10))
    axes.plot(steps, smooth(losses, span), color=_TRAIN, linewidth=2, label="training, smoothed")
    places, validations = _column(rows, "val_loss")
    if np.isfinite(validations).any():
        best = int(np.nanargmin(validations))
        axes.plot(
            places,
            validations,
            color=_VALIDATION,
            linewidth=2,
            marker="o",
            markersize=4,
            label=f"validation, best {validations[best]:.3f} at step {places[best]}",
        )
    axes.set(ylabel="loss (nats per token)", title=f"Training history: {rows[-1]['tokens']:,} tokens")
    axes.legend(frameon=False)
