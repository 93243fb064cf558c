"""Numbers, sizes and times as people read them."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.page import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (99_999, "99,999"), (123_456, "123\u202fk"), (999_600, "1.00\u202fM"), (1_234_567, "1.23\u202fM"),
     (45_600_000_000, "45.6\u202fB"), (2.5e12, "2.50\u202fT")],
)  # fmt: skip
def test_short(value: float, text: str) -> None:
    assert wording.short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0\u202fB"), (999, "999\u202fB"), (999_999, "1.00\u202fMB"), (1500, "1.50\u202fkB"), (3.2e9, "3.20\u202fGB")],
)
def test_size(value: float, text: str) -> None:
    assert wording.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0000042, "4\u202fµs"), (0.0042, "4.2\u202fms"), (0.9999, "1\u202fs"), (12.34, "12.3\u202fs"),
     (59.9, "59.9\u202fs"), (61, "1\u202fmin 1\u202fs"), (7384, "2\u202fh 3\u202fmin")],
)  # fmt: skip
def test_seconds(value: float, text: str) -> None:
    assert wording.seconds(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, "0%"), (1, 10**6, "<0.1%"), (999_999, 10**6, "99.9%"), (5, 5, "100%"), (1, 3, "33.3%"), (0, 0, "0%")],
)
def test_percent_never_pretends(part: int, whole: int, text: str) -> None:
    assert wording.percent(part, whole) == text


@given(st.text())
def test_escape_is_inert_and_keeps_what_can_be_seen(text: str) -> None:
    escaped = wording.escape(text)
    assert not set(escaped) & set("<>\"'\u202e\u200b\x00")
    kept = [c for c in text if c.isalnum()]
    shown = iter(html.unescape(escaped))
    assert all(c in shown for c in kept), "in their order"


@given(st.text(), st.integers(1, 30))
def test_clip(text: str, columns: int) -> None:
    clipped = wording.clip(text, columns)
    width = sum(2 if wording.wide(c) else 1 for c in text)
    assert clipped == text if width <= columns else clipped.endswith("…") and len(clipped) <= columns + 1


def test_blanks_of_tokens_are_drawn() -> None:
    assert wording.token_text(" a\n\t") == "␣a⏎⇥"
