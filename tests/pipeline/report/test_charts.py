"""Drawings: everything inside the view box, no label over another, areas that say the counts."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.page.svg import powers_of_ten, round_steps
from foundation.page.wording import text_width
from pipeline.report import charts
from pipeline.report.charts import length_histogram, rank_plot
from pipeline.report.flow import WIDTH, Branch, draw_flow, largest
from pipeline.statistics.lengths import EDGES

TEXT = re.compile(r'<text class="([^"]*)" x="([\d.-]+)" y="([\d.-]+)" text-anchor="(\w+)">([^<]*)</text>')
RECT = re.compile(r'<rect class="([^"]*)" x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)">')


def boxes(svg: str, size: float) -> list[tuple[float, float, float, float, str]]:
    """Left, right, top and bottom of every text, and the text."""
    found = []
    for _, x, y, anchor, text in TEXT.findall(svg):
        width = text_width(text, size)
        left = float(x) - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        found.append((left, left + width, float(y) - size * 0.8, float(y) + 1, text))
    return found


def no_overlap(texts: list[tuple[float, float, float, float, str]]) -> None:
    for place, (a0, a1, at, ab, first) in enumerate(texts):
        for b0, b1, bt, bb, second in texts[place + 1 :]:
            assert a1 <= b0 or b1 <= a0 or ab <= bt or bb <= at, (first, second)


counts = st.lists(st.integers(0, 10**7), min_size=1, max_size=90).filter(any)


@given(counts, st.integers(0, 60), st.data())
def test_histogram(values: list[int], shift: int, data: st.DataObject) -> None:
    values = [0] * shift + values
    edges = EDGES[: len(values) + 1].tolist()
    longest = edges[max(n for n, count in enumerate(values) if count)]
    lengths = sorted(data.draw(st.lists(st.integers(1, longest), min_size=3, max_size=3)))
    svg = length_histogram(edges, values, dict(zip(("5%", "median", "95%"), lengths, strict=True)), "tokens")
    no_overlap(boxes(svg, 11))
    bars = [tuple(map(float, numbers)) for kind, *numbers in RECT.findall(svg) if kind == "bar"]
    filled = [count for count in values if count]
    assert len(bars) == len(filled)
    areas = [(width + 1) * height for _, _, width, height in bars]
    for area, count in zip(areas, filled, strict=True):
        assert area / sum(areas) == pytest.approx(count / sum(filled), rel=0.02, abs=0.02)
    for x, y, width, height in bars:
        assert x >= 0 and x + width <= charts.WIDTH and y >= 0 and y + height <= charts.HEIGHT


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=40), st.integers(0, 10**6))
def test_rank_plot(values: list[int], rest: int) -> None:
    ordered = sorted(values, reverse=True)
    points = [(rank, count) for rank, count in enumerate(ordered, 1)]
    cover = {"50% of the text": 1 + len(values) // 2, "90% of the text": len(values), "99% of the text": len(values)}
    svg = rank_plot(points, {1: "the"}, cover)
    line = re.search(r'<polyline class="curve" points="([^"]*)"', svg)
    assert line is not None
    drawn = [tuple(map(float, point.split(","))) for point in line[1].split()]
    assert len(drawn) == len(points)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(drawn)), "to the right, and never up again"
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in drawn)
    no_overlap([box for box in boxes(svg, 11) if box[4] != "the"])


parts = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.integers(1, 10**9), max_size=20
)


@given(st.lists(parts, min_size=1, max_size=4).filter(any))
def test_flow(groups: list[dict[str, int]]) -> None:
    names = ("kept", "duplicate", "rejected", "quarantined")
    branches = [
        Branch(name, name.title(), sum(group.values()), largest(group, 8, "reasons"))
        for name, group in zip(names, groups, strict=False)
    ]
    total = sum(branch.records for branch in branches)
    svg = draw_flow(total, branches)
    height = float(svg.split('viewBox="0 0 ')[1].split('"')[0].split()[1])
    right = [box for box in boxes(svg, 14) if box[0] > 690]
    no_overlap(right)
    no_overlap([box for box in boxes(svg, 14) if box[0] < 690])
    assert len(right) == sum(len(branch.parts) for branch in branches if branch.records)
    for _, x, y, width, tall in RECT.findall(svg):
        assert float(x) >= 0 and float(x) + float(width) <= WIDTH
        assert float(y) >= 0 and float(y) + float(tall) <= height + 0.1


def test_largest_folds_the_rest() -> None:
    found = largest({f"r{n}": n for n in range(20)}, 3, "reasons")
    assert found == [("r19", 19), ("r18", 18), ("r17", 17), ("16 other reasons", sum(range(1, 17)))]
    assert largest({"a": 1, "b": 2}, 3, "reasons") == [("b", 2), ("a", 1)]


def test_scales() -> None:
    assert powers_of_ten(1, 12345) == [1, 10, 100, 1000, 10000] and powers_of_ten(11, 99) == []
    assert round_steps(1) == [0, 1] and round_steps(840) == [0, 200, 400, 600, 800] and round_steps(3) == [0, 1, 2, 3]
    assert all(len(round_steps(high)) <= 6 for high in range(1, 5000, 7))
