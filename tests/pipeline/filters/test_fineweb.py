"""FineWeb's rules against plain code after datatrove."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.fineweb import FineWebFilter, FineWebLimits
from pipeline.filters.punctuation import TERMINAL
from pipeline.filters.words import is_cjk, words_of

from .texts import batches, judge

DEFAULT = FineWebLimits(0.12, 0.67, 30, 0.01, 0.3)
share = st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5, 0.67, 1.0])
LINE = "It was a bright cold day in April."


def plain(text: str, limits: FineWebLimits) -> str | None:
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return "fineweb_empty"
    if sum(line[-1] in TERMINAL for line in lines) / len(lines) < limits.min_punctuated_lines:
        return "fineweb_line_punctuation"
    widths = [sum(3 if is_cjk(character) else 1 for character in line) for line in lines]
    if sum(width <= limits.short_line for width in widths) / len(lines) > limits.max_short_lines:
        return "fineweb_short_lines"
    again = sum(len(line) for at, line in enumerate(lines) if line in lines[:at])
    if again / len(text.replace("\n", "")) > limits.max_repeated_characters:
        return "fineweb_repeated_lines"
    return "fineweb_list" if text.count("\n") / len(words_of(text)) > limits.max_line_ends else None


@settings(deadline=None)
@given(batches, st.builds(FineWebLimits, share, share, st.sampled_from([0, 7, 30]), share, share))
def test_against_plain_code(documents: list[str], limits: FineWebLimits) -> None:
    found = judge(FineWebFilter(limits), *documents)
    assert found == [plain(document, limits) for document in documents]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{LINE}\nThe clocks were striking thirteen, all of them.", None),
        ("", "fineweb_empty"),
        ("\n \n", "fineweb_empty"),
        ("Home\nAbout\nContact", "fineweb_line_punctuation"),
        ("One.\nTwo.\nThree.", "fineweb_short_lines"),
        (f"{LINE}\n{LINE}", "fineweb_repeated_lines"),
        ("\n".join(LINE + str(at) + "." + "\n" * 9 for at in range(5)), "fineweb_list"),
        ("月落烏啼霜滿天，江楓漁火對愁眠。\n姑蘇城外寒山寺，夜半鐘聲到客船。", None),
        ("首页。\n登录。\n注册。", "fineweb_short_lines"),
    ],
)
def test_examples(text: str, reason: str | None) -> None:
    assert judge(FineWebFilter(DEFAULT), text) == [reason]
