"""training_history.png: the run at a glance, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation import atomic
from training.loggers import Row
from training.loggers.json_lines import read_lines
from training.loggers.run_history import STARTED
from training.saving.run_directory import HISTORY, METRICS, PLOT, SPIKES

_TRAIN, _VALIDATION, _EMA, _SPIKE, _OTHER = "#4c78a8", "#e45756", "#2a8c6a", "#d6942a", "#7a7a7a"
_UNITS = {"mlm_nsp": "nats, two losses", "classify": "nats per document"}


def draw_run(directory: Path) -> None:
    """Draw the picture of the run in `directory` from its files; nothing while it has no row."""
    rows = read_lines(directory / METRICS)
    if rows:
        spikes = [event for event in read_lines(directory / SPIKES) if event.get("event") == "spike"]
        starts = [event for event in read_lines(directory / HISTORY) if event.get("event") == STARTED]
        draw_history(rows, directory / PLOT, spikes, loss_unit(starts[-1].get("task") if starts else None))


def loss_unit(task: object) -> str:
    """What the losses of a run of `task` are measured in."""
    return _UNITS.get(str(task), "nats per token")


def column(rows: Sequence[Row], key: str) -> tuple[list[int], np.ndarray]:
    """Steps and values of the rows that have `key`; null becomes NaN, which leaves a gap in the line."""
    chosen = [row for row in rows if key in row]
    return [row["step"] for row in chosen], np.array([row[key] for row in chosen], dtype=float)


def smooth(values: np.ndarray, span: int) -> np.ndarray:
    """Exponential moving average over about `span` values, over fewer at the start, where a loss falls fast and an
    average would lag behind; NaN is passed over."""
    total = weight = 0.0
    out = np.empty_like(values)
    for place, value in enumerate(values):
        decay = 1 - 1 / max(1, min(span, place // 10))
        if np.isfinite(value):
            total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        out[place] = total / weight if weight else np.nan
    return out


def smoothing_span(count: int) -> int:
    """Over how many of `count` logged steps the strong line of the training loss is smoothed."""
    return max(1, min(50, count // 10))


def settled_from(count: int) -> int:
    """How many of `count` logged steps at the start do not decide what a picture shows: a twentieth of many."""
    return count // 20 if count >= 100 else 0


def draw_history(rows: Sequence[Row], path: Path, spikes: Sequence[Row] = (), unit: str = loss_unit("causal")) -> None:
    """Training loss in `unit` (each step pale, smoothed strong), validation losses and spikes; gradient norm and
    learning rate below."""
    from matplotlib.backends.backend_agg import (
        FigureCanvasAgg,  # slow to import, and no window is ever opened
    )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    losses, norms, rates = figure.subplots(3, 1, sharex=True, height_ratios=[4, 1, 1])
    _draw_losses(losses, rows, spikes)
    losses.set(ylabel=f"loss ({unit})", title=f"Training history: {rows[-1]['tokens']:,} tokens")
    _draw_norms(norms, rows)
    steps, values = column(rows, "lr")
    rates.plot(steps, values, color=_OTHER, linewidth=1.5)
    rates.set(ylabel="learning rate", xlabel="step", ylim=(0, None))
    rates.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (losses, norms, rates):
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    with atomic.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _draw_losses(axes: Any, rows: Sequence[Row], spikes: Sequence[Row]) -> None:
    steps, losses = column(rows, "loss")
    axes.plot(steps, losses, color=_TRAIN, alpha=0.25, linewidth=1, label="training, each logged step")
    smoothed = smooth(losses, smoothing_span(len(losses)))
    first = settled_from(len(losses))
    settled, shown = steps[first] if steps else 0, [losses[first:]]
    axes.plot(steps, smoothed, color=_TRAIN, linewidth=2, label="training, smoothed")
    for key, name, colour in (("val_loss", "validation", _VALIDATION), ("val_loss_ema", "of the EMA", _EMA)):
        places, values = column(rows, key)
        if np.isfinite(values).any():
            best = int(np.nanargmin(values))
            label = f"{name}, best {values[best]:.3f} at step {places[best]}"
            axes.plot(places, values, color=colour, linewidth=2, marker="o", markersize=4, label=label)
            shown.append(values[np.array(places) >= settled])
    if spikes:
        places, values = column(spikes, "loss")
        axes.plot(places, values, color=_SPIKE, linestyle="", marker="^", markersize=6, label="spikes")
    every, later = (values[np.isfinite(values)] for values in map(np.concatenate, ([losses, *shown], shown)))
    if first and len(later):
        low, high = every.min(), later.max()
        room = 0.05 * (high - low)
        axes.set_ylim(low - room, high + room)  # the first steps lie above the picture
    axes.legend(frameon=False)


def _draw_norms(axes: Any, rows: Sequence[Row]) -> None:
    """The gradient's norm over a logarithmic axis; skipped steps, whose norm may be none, are marked below."""
    steps, norms = column(rows, "grad_norm")
    axes.plot(steps, np.where(norms > 0, norms, np.nan), color=_OTHER, linewidth=1)
    axes.set(ylabel="gradient norm", yscale="log")
    skipped = [row["step"] for row in rows if row.get("skipped")]
    if skipped:
        axes.plot(skipped, [0.03] * len(skipped), "x", color=_SPIKE, transform=axes.get_xaxis_transform())
