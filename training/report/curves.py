"""The curves: losses, learning rate, gradient norm, speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from foundation.page import html
from foundation.page.wording import escape
from training.loggers.history_plot import column, loss_unit, settled_from, smooth, smoothing_span
from training.report.charts import Point, Series, line_chart, small_chart
from training.report.files import RunFiles


def points(rows: Sequence[dict[str, Any]], key: str) -> list[Point]:
    """Step and value of the rows that have `key`; None where it is not finite."""
    steps, values = column(rows, key)
    return [
        (float(step), float(value) if np.isfinite(value) else None) for step, value in zip(steps, values, strict=True)
    ]


def _smoothed(rows: Sequence[dict[str, Any]]) -> list[Point]:
    steps, values = column(rows, "loss")
    even = smooth(values, smoothing_span(len(values)))
    return [(float(step), float(value)) for step, value in zip(steps, even, strict=True) if np.isfinite(value)]


def halts(run: RunFiles) -> list[tuple[float, str]]:
    """Where the run was taken up again: step and words."""
    steps = [int(stretch.started.get("step") or 0) for stretch in run.stretches[1:]]
    return [(float(step), f"resumed after step {step}") for step in steps if step]


def losses(run: RunFiles) -> str:
    """Training loss, validation losses and spikes over the steps."""
    spikes = [fault for fault in run.faults if fault.get("event") == "spike"]
    series = [
        Series("each logged step", "pale", points(run.rows, "loss")),
        Series("training, smoothed", "train", _smoothed(run.rows)),
        Series("validation", "val", points(run.rows, "val_loss"), dots=True),
        Series("validation of the EMA", "ema", points(run.rows, "val_loss_ema"), dots=True),
        Series(
            "spike",
            "spike",
            points(spikes, "loss"),
            dots=True,
            line=False,
        ),
    ]
    shown = [one for one in series if one.values()]
    chart = line_chart("Loss by step", shown, halts(run), after=_settled(run))
    cut = "" if _settled(run) == -math.inf else "; the first steps may lie above the picture"
    return html.section("Loss", legend(shown) + chart, loss_unit(run.facts.get("task")) + cut) if chart else ""


def _settled(run: RunFiles) -> float:
    """The step from which on values decide what a picture spans: the first ones of a long run do not."""
    first = settled_from(len(run.rows))
    return float(run.rows[first]["step"]) if first else -math.inf


def legend(series: Sequence[Series]) -> str:
    """What the colours mean."""
    entries = [f'<span><i class="key {one.kind}"></i>{escape(one.name)}</span>' for one in series]
    return f'<div class="legend">{"".join(entries)}</div>'


def _small(run: RunFiles, key: str, title: str, note: str, factor: float = 1, settled: bool = False) -> str:
    scaled = [(step, None if value is None else factor * value) for step, value in points(run.rows, key)]
    after = _settled(run) if settled else -math.inf
    chart = small_chart(title, [Series(title, "other", scaled)], halts(run), key == "grad_norm", after)
    return html.section(title, chart, note)


def others(run: RunFiles) -> str:
    """Learning rate, gradient norm, speed, and the share of the peak where it is known."""
    return html.pair(
        _small(run, "lr", "Learning rate", "at each logged step"),
        _small(run, "grad_norm", "Gradient norm", "before clipping, over a logarithmic axis"),
        _small(run, "tokens_per_second", "Speed", "tokens per second of the steps, all devices together", settled=True),
        _small(run, "mfu", "MFU", "per cent of the devices' peak FLOP/s", factor=100, settled=True),
    )
