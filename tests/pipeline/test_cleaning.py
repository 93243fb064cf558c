"""Cleaning against a plain rewriting of its documentation, and its properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.cleaner import STEPS, Cleaner
from pipeline.config import PipelineConfig
from pipeline.filters.base import TextBatch
from pipeline.filters.length import LengthFilter

from .conftest import plain_cleaning

TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\r\n\t \x00\x0b\x7f\x85\x9f\u3000\u2028<br/>Aé"),
    ),
    max_size=60,
)


def clean(*texts: str, **settings: bool) -> list[str]:
    cleaner = Cleaner(PipelineConfig(**settings))  # type: ignore[arg-type]
    return [text.decode() for text in cleaner.clean([text.encode() for text in texts])]


@given(st.lists(TEXT, max_size=5))
def test_equals_the_documentation_and_is_idempotent(texts: list[str]) -> None:
    cleaned = clean(*texts)
    assert cleaned == [plain_cleaning(text) for text in texts]
    assert clean(*cleaned) == cleaned


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("unify_newlines", "a\r\nb\rc", "a\nb\nc"),
        ("remove_control_characters", "a\x00b\x1b[0m\x85\tc\n", "ab[0m\tc\n"),
        ("replace_br_tags", "a<br />b<BR>c<br/>d<b>e", "a\nb\nc\nd<b>e"),
        ("normalize_nfc", "e\u0301", "é"),
        ("collapse_blanks", "\n a \t\nb\n\n\n\nc\u3000", "a\nb\n\nc"),
    ],
)
def test_each_step_alone(step: str, before: str, after: str) -> None:
    settings = {name: name == step for name in STEPS}
    cleaner = Cleaner(PipelineConfig(**settings))  # type: ignore[arg-type]
    assert cleaner.clean([before.encode(), b"clean"]) == [after.encode(), b"clean"]
    assert cleaner.changed == {step: 1}
    assert clean(before, **dict.fromkeys(STEPS, False)) == [before]


@given(TEXT, st.integers(1, 20), st.integers(0, 20) | st.none())
def test_length_filter(text: str, low: int, span: int | None) -> None:
    high = None if span is None else low + span
    reason = LengthFilter(low, high).judge(TextBatch([text.encode()])).dropped.get(0)
    length = len(text)
    if length < low:
        assert reason == ("too_short" if text else "empty")
    elif high is not None and length > high:
        assert reason == "too_long"
    else:
        assert reason is None
