"""Lines over steps: round axes, nothing outside the view box, thinned without losing peaks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.charts import NARROW, Series, line_chart, log_ticks, small_chart, thin, ticks

POLYLINE = re.compile(r'<polyline class="[^"]*" points="([^"]*)"')
NUMBERS = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (1, 99, [20, 40, 60, 80]), (6.9, 9.8, [7, 7.5, 8, 8.5, 9, 9.5]), (3, 3, [3])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_ticks_of_steps_are_whole() -> None:
    assert ticks(1, 12, 5, whole=True) == [5, 10] and ticks(1, 3, 5, whole=True) == [1, 2, 3]
    assert ticks(7.4, 8.9) == [7.5, 7.75, 8, 8.25, 8.5, 8.75]


@given(low=NUMBERS, span=st.floats(min_value=1e-3, max_value=1e6))
def test_ticks_lie_within_and_are_few(low: float, span: float) -> None:
    found = ticks(low, low + span)
    slack = 1e-6 * (abs(low) + span)
    assert 1 <= len(found) <= 8 and all(low - slack <= value <= low + span + slack for value in found)


def test_log_ticks() -> None:
    assert log_ticks(0.4, 30) == [0.5, 1, 2, 5, 10, 20]
    assert log_ticks(1, 1e5) == pytest.approx([1, 10, 100, 1e3, 1e4, 1e5])


def test_thinning_keeps_the_peaks_and_the_order() -> None:
    points = [(float(n), 1.0 if n != 7777 else 99.0) for n in range(20_000)]
    points[333] = (333.0, -5.0)
    kept = thin(points)
    assert len(kept) < 650 and (7777.0, 99.0) in kept and (333.0, -5.0) in kept
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)


@given(values=st.lists(st.one_of(st.none(), NUMBERS), max_size=40), log=st.booleans())
def test_everything_lies_in_the_view_box(values: list[float | None], log: bool) -> None:
    points = [(float(step), value) for step, value in enumerate(values)]
    drawn = small_chart("x", [Series("a", "train", points, dots=True)], log=log)
    for line in POLYLINE.findall(drawn):
        for pair in line.split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= NARROW[0] and 0 <= y <= NARROW[1]


def test_the_first_values_do_not_decide_the_span_and_stay_out() -> None:
    points = [(float(n), 100.0 if n < 5 else 2.0 + n % 2) for n in range(100)]
    whole = small_chart("x", [Series("a", "train", points)])
    settled = small_chart("x", [Series("a", "train", points)], after=5)
    assert ">100<" in whole and ">100<" not in settled and ">2.2<" in settled
    [line] = POLYLINE.findall(settled)
    assert len(line.split()) == 95


def test_without_values_there_is_no_chart() -> None:
    assert line_chart("x", [Series("a", "train", [(1.0, None)])]) == ""
