"""Character classes against plain code over code points; what is kept and dropped."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.characters import MIN_VISIBLE, CharacterFilter

from .texts import batches, judge

SYMBOL_BLOCKS = [
    (0x80, 0xBF), (0x2000, 0x2BFF), (0x2E00, 0x2E7F), (0x3000, 0x303F), (0x3200, 0x33FF), (0xE000, 0xF8FF),
    (0xFE00, 0xFE6F), (0xFFE0, 0xFFFF), (0x1F000, 0x1FAFF), (0xE0000, 0x10FFFF),
]  # fmt: skip
CJK_BLOCKS = [(0x3040, 0x313F), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)]
limits = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.77, 1.0]))


def kind(character: str) -> str:
    code = ord(character)
    if 0xFF01 <= code <= 0xFF5E:  # full-width forms of ASCII
        code -= 0xFEE0
    if code <= 0x20:
        return "blank"
    if 0x30 <= code <= 0x39:
        return "digit"
    if code < 0x80 and not chr(code).isalpha():
        return "symbol"
    if 0xFF00 <= code <= 0xFF65 or any(low <= code <= high for low, high in SYMBOL_BLOCKS):
        return "symbol"
    return "letter"


def plain(text: str, symbols: float | None, digits: float | None, letters: float | None) -> str | None:
    kinds = [each for each in map(kind, text) if each != "blank"]
    if len(kinds) < MIN_VISIBLE:
        return None
    if symbols is not None and kinds.count("symbol") > symbols * len(kinds):
        return "mostly_symbols"
    if digits is not None and kinds.count("digit") > digits * len(kinds):
        return "mostly_digits"
    if letters is not None and kinds.count("letter") < letters * len(kinds):
        return "few_letters"
    return None


@settings(deadline=None)
@given(batches, limits, limits, limits)
def test_against_plain_code(documents: list[str], symbols: float, digits: float, letters: float) -> None:
    found = judge(CharacterFilter(symbols, digits, letters, None, None), *documents)
    assert found == [plain(document, symbols, digits, letters) for document in documents]


@settings(deadline=None)
@given(batches, st.floats(0, 1), st.floats(0, 1))
def test_cjk_share_against_plain_code(documents: list[str], low: float, high: float) -> None:
    def share(text: str) -> float:
        cjk = sum(any(a <= ord(c) <= b for a, b in CJK_BLOCKS) for c in text)
        return cjk / max(1, sum(ord(c) > 0x20 and c != "\x7f" for c in text))

    found = judge(CharacterFilter(None, None, None, low, high), *documents)
    shares = [share(document) for document in documents]
    assert found == ["too_much_cjk" if s > high else "too_little_cjk" if s < low else None for s in shares]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("It cost $5,000 (or so), he said; “quite a sum”, I thought.", None),
        ("春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少？", None),
        ("これはペンです。あれは本です。それは何ですか。", None),
        ("서울은 대한민국의 수도이자 최대 도시이다.", None),
        ("Москва — столица России, город федерального значения.", None),
        ("=====>>>>> !!!!! ***** ##### ----- <<<<<=====", "mostly_symbols"),
        ("😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀 ok", "mostly_symbols"),
        ("□□□□□，□□□□□。春眠不覺曉，□□□□□。", "mostly_symbols"),
        ("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18", "mostly_digits"),
        ("２０２４１０１２３４５６７８９０１２３４５", "mostly_digits"),
        ("1,2;3.4:5-6+7=8/9*0 1,2;3.4 abc", "few_letters"),
        ("!!! wow", None),
        ("", None),
    ],
)
def test_defaults(text: str, reason: str | None) -> None:
    assert judge(CharacterFilter(0.5, 0.5, 0.3, None, None), text) == [reason]
