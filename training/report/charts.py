"""Lines over the steps of a run, as inline SVG that reads on a wide screen and on a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from foundation.page.svg import Drawing
from foundation.page.wording import tick

WIDE, NARROW = (980, 360), (470, 290)
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 40
MOST_POINTS = 600

Point = tuple[float, float | None]  # step and value; None is a gap


@dataclass(frozen=True)
class Series:
    """A line (or dots) of the style class `kind`."""

    name: str
    kind: str
    points: Sequence[Point]
    dots: bool = False
    line: bool = True

    def values(self, after: float = -math.inf) -> list[float]:
        """The values that are there, from step `after` on."""
        return [v for step, v in self.points if v is not None and math.isfinite(v) and step >= after]


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about `most` points that look the same: of each stretch the lowest and the highest one."""
    if len(points) <= most:
        return list(points)
    width = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), width):
        part = points[start : start + width]
        known = [place for place, (_, value) in enumerate(part) if value is not None]
        if not known:
            kept.append(part[0])
            continue
        low, high = (choose(known, key=lambda n: part[n][1] or 0.0) for choose in (min, max))
        kept += [part[place] for place in sorted({low, high})]
    return kept


def ticks(low: float, high: float, count: int = 6, whole: bool = False) -> list[float]:
    """Round values in [low, high], about `count`, evenly spaced (1, 2, 2.5 or 5 times a power of ten); `whole`: only
    whole numbers."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(power * factor for factor in factors if power * factor >= rough * 0.999)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in [low, high], with 2 and 5 times them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if high / low > 1e3 else (1, 2, 5)
    return [v for p in powers for f in factors if low <= (v := f * 10.0**p) <= high]


def number(value: float) -> str:
    """A value on an axis: 0.25, 3, 1.5k, 2e-05"""
    return tick(value) if value >= 1000 else f"{value:g}"


def line_chart(
    title: str,
    series: Sequence[Series],
    marks: Sequence[tuple[float, str]] = (),
    log: bool = False,
    after: float = -math.inf,
) -> str:
    """The chart of `series` in two drawings, of which the style sheet shows the one that fits; empty without values.

    `marks` are upright lines at a step, with what they mean; `log` makes the axis of values logarithmic. Values before
    step `after` do not decide what the axis spans, and are left out where they lie beyond it.
    """
    if not any(one.values() for one in series):
        return ""
    wide, narrow = (_draw(title, series, marks, log, size, after) for size in (WIDE, NARROW))
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def small_chart(
    title: str,
    series: Sequence[Series],
    marks: Sequence[tuple[float, str]] = (),
    log: bool = False,
    after: float = -math.inf,
) -> str:
    """The chart in the one size that stands beside another; empty without values."""
    return _draw(title, series, marks, log, NARROW, after)


def _draw(
    title: str,
    series: Sequence[Series],
    marks: Sequence[tuple[float, str]],
    log: bool,
    size: tuple[int, int],
    after: float,
) -> str:
    width, height = size
    drawing = Drawing(width, height, title)
    every = [value for one in series for value in one.values() if value > 0 or not log]
    if not every:
        return ""
    values = [value for one in series for value in one.values(after) if value > 0 or not log] or every
    steps = [step for one in series for step, _ in one.points]
    low, high = _span(min(values), max(values), log)
    x = _scale(min(steps), max(max(steps), min(steps) + 1), LEFT, width - RIGHT, False)
    y = _scale(low, high, height - BOTTOM, TOP, log)
    for value in log_ticks(low, high) if log else ticks(low, high):
        drawing.line(LEFT, y(value), width - RIGHT, y(value), "grid")
        drawing.text(LEFT - 8, y(value) + 4, number(value), "axis", "end")
    for value in ticks(min(steps), max(steps), 5 if size == NARROW else 9, whole=True):
        drawing.line(x(value), height - BOTTOM, x(value), height - BOTTOM + 5, "tick")
        drawing.text(x(value), height - BOTTOM + 19, number(value), "axis", "middle")
    drawing.text((LEFT + width - RIGHT) / 2, height - 3, "step", "axis", "middle")
    for step, hint in marks:
        if min(steps) <= step <= max(steps):
            drawing.line(x(step), TOP, x(step), height - BOTTOM, "mark")
            drawing.dot(x(step), TOP, 4, "halt", hint)
    for one in series:
        _series(drawing, _within(one, low, high), x, y)
    return drawing.render()


def _span(low: float, high: float, log: bool) -> tuple[float, float]:
    """The values from `low` to `high` with a little room around."""
    if log:
        return low / 1.15 or low, max(high * 1.15, math.nextafter(high, math.inf))
    room = 0.04 * (high - low) or abs(high) * 0.05 or 1.0
    return (low if low == 0 else max(0.0, low - room) if low > 0 else low - room), high + room


def _scale(low: float, high: float, start: float, end: float, log: bool) -> Callable[[float], float]:
    if log:
        first, span = math.log(low), math.log(high) - math.log(low)  # a quotient of tiny numbers may overflow
        return lambda value: start + (end - start) * (math.log(value) - first) / span
    return lambda value: start + (end - start) * (value - low) / (high - low)


def _within(one: Series, low: float, high: float) -> Series:
    """The series with gaps where its values are none or lie outside `low` to `high`."""
    return replace(one, points=[(s, v if v is not None and low <= v <= high else None) for s, v in one.points])


def _series(drawing: Drawing, one: Series, x: Callable[[float], float], y: Callable[[float], float]) -> None:
    run: list[tuple[float, float]] = []
    for step, value in [*thin(one.points), (0.0, None)]:
        if value is not None:
            run.append((x(step), y(value)))
            continue
        if one.line and len(run) > 1:
            drawing.polyline(run, f"curve {one.kind}")
        elif one.line and run:
            drawing.dot(*run[0], 2, f"point {one.kind}")
        run = []
    for step, value in thin(one.points, 200) if one.dots else ():
        if value is not None:
            drawing.dot(x(step), y(value), 3.5, f"point {one.kind}", f"{one.name}, step {step:g}: {value:.4g}")
