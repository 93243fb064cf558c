"""The two plots: how long documents are, and how often the tokens of each rank occur."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from foundation.page.svg import Drawing, powers_of_ten, round_steps
from foundation.page.wording import integer, short, text_width, tick

WIDTH, HEIGHT = 470, 290
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 44, 44


def _log_scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = math.log(high / low) or 1.0
    return lambda value: start + (end - start) * math.log(value / low) / span


def length_histogram(edges: Sequence[int], counts: Sequence[int], marks: dict[str, int], unit: str) -> str:
    """Bars over a logarithmic axis. `edges` (n + 1) are the bins' borders, `counts` (n,) the documents in each;
    `marks` are named lengths drawn as upright lines. A bar's area stands for its documents, whatever its width."""
    filled = [n for n, count in enumerate(counts) if count]
    first, last = (max(0, filled[0] - 2), min(len(counts), filled[-1] + 3)) if filled else (0, len(counts))
    edges, counts = edges[first : last + 1], counts[first:last]
    drawing = Drawing(WIDTH, HEIGHT, f"Histogram of document lengths in {unit}")
    x = _log_scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    ratio = 2**0.25  # the width of a bin: heights are documents for so wide a bin
    heights = [n * math.log(ratio) / math.log(b / a) for n, a, b in zip(counts, edges, edges[1:], strict=False)]
    top = max(heights, default=1.0) or 1.0
    base = HEIGHT - BOTTOM
    scale = (base - TOP) / top
    for value in round_steps(top):
        y = base - value * scale
        drawing.line(LEFT, y, WIDTH - RIGHT, y, "grid")
        drawing.text(LEFT - 8, y + 4, short(value), "axis", "end")
    for count, height, a, b in zip(counts, heights, edges, edges[1:], strict=False):
        if count:
            hint = f"{a} to {b - 1} {unit}: {integer(count)} documents"
            drawing.rect(x(a) + 0.5, base - height * scale, x(b) - x(a) - 1, height * scale, "bar", hint)
    for value in _length_ticks(edges[0], edges[-1]):
        drawing.line(x(value), base, x(value), base + 5, "tick")
        drawing.text(x(value), base + 19, tick(value), "axis", "middle")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, f"{unit} in a document", "axis", "middle")
    _marks(drawing, marks, x, base)
    return drawing.render()


def _length_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 times them where the axis is short."""
    powers = powers_of_ten(1, high)
    factors = (1, 2, 5) if high / low < 500 else (1,)
    return [p * f for p in powers for f in factors if low <= p * f <= high]


def _marks(drawing: Drawing, marks: dict[str, int], x: Callable[[float], float], base: float) -> None:
    """Upright lines with their names above the plot, left out where they would overlap the one before."""
    free = 0.0
    for name, value in sorted(marks.items(), key=lambda item: item[0] != "median"):
        label = f"{name} {integer(value)}"
        half = text_width(label, 12) / 2 + 6
        middle = min(max(x(max(1, value)), LEFT + half), WIDTH - RIGHT - half)
        if name != "median" and abs(middle - free) < 2 * half:
            continue
        free = middle if name == "median" else free
        drawing.line(x(max(1, value)), TOP - 8, x(max(1, value)), base, "mark")
        drawing.text(middle, TOP - 14, label, "axis", "middle")


def rank_plot(points: Sequence[tuple[int, int]], names: dict[int, str], cover: dict[str, int]) -> str:
    """Occurrences over rank, both axes logarithmic (Zipf). `points` are (rank, count) by rank; `names` the tokens of
    some ranks; `cover` says at which rank a share of the text is reached."""
    drawing = Drawing(WIDTH, HEIGHT, "Occurrences of tokens by rank")
    last = max(10, points[-1][0])
    most = max(10, points[0][1])
    x = _log_scale(1, last, LEFT, WIDTH - RIGHT)
    y = _log_scale(1, most, HEIGHT - BOTTOM, TOP)
    for value in powers_of_ten(1, most):
        drawing.line(LEFT, y(value), WIDTH - RIGHT, y(value), "grid")
        drawing.text(LEFT - 8, y(value) + 4, tick(value), "axis", "end")
    for value in powers_of_ten(1, last):
        drawing.line(x(value), HEIGHT - BOTTOM, x(value), HEIGHT - BOTTOM + 5, "tick")
        drawing.text(x(value), HEIGHT - BOTTOM + 19, tick(value), "axis", "middle")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "rank of the token", "axis", "middle")
    drawing.text(4, 12, "occurrences", "axis")
    _cover(drawing, cover, x)
    drawing.polyline([(x(rank), y(count)) for rank, count in points], "curve")
    known = dict(points)
    for rank, name in names.items():
        if rank in known:
            drawing.dot(x(rank), y(known[rank]), 3.5, "point", f"rank {rank}: {name}, {integer(known[rank])} times")
            drawing.text(x(rank) + 7, y(known[rank]) - 7, name, "halo small")
    return drawing.render()


def _cover(drawing: Drawing, cover: dict[str, int], x: Callable[[float], float]) -> None:
    """Upright lines where the commonest tokens reach a share of the text, named at the top where there is room."""
    free = LEFT + 90.0
    for name, rank in cover.items():
        at = x(max(1, rank))
        half = text_width(name, 12) / 2
        middle = min(at, WIDTH - RIGHT - half)
        drawing.line(at, TOP - 8, at, HEIGHT - BOTTOM, "mark")
        if middle - half >= free:
            drawing.text(middle, TOP - 14, name, "axis", "middle")
            free = middle + half + 8
