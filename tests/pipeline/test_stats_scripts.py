"""Characters by script: against words whose script everybody knows, and against a character-by-character count."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statistics.scripts import SCRIPTS, script_counts, script_of

WORDS = {
    "latin": ["Straße", "ÆØñÿ", "ｆｕｌｌ", "ẞƃ", "Việt"],
    "han": ["春眠不覺曉", "々〆", "𠀀𪜶", "豈"],
    "kana": ["ひらがな", "カタカナ", "ｶﾀ", "ラーメン"],
    "hangul": ["한국어", "ᄒ"],
    "cyrillic": ["Ёжик", "Ґѳ"],
    "greek": ["Ωμέγα", "ἀρχή"],
    "arabic": ["العربية", "پچ"],
    "hebrew": ["עברית"],
    "devanagari": ["हिन्दी"],
    "thai": ["ภาษาไทย"],
    "digits": ["0123456789", "٣", "Ⅷ", "½"],
    "punctuation": ["…,.!?-", "。，、「」"],
    "symbols": ["€+=<>^", "😀", "㎏"],
    "other": ["ქართული", "\u0301", "\x00\u200b"],
    "white_space": [" \t\n\r", "\u3000\u00a0\u2028"],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_known_words(script: str) -> None:
    for word in WORDS[script]:
        counts = dict(zip(SCRIPTS, script_counts([word.encode()]).tolist(), strict=True))
        assert counts[script] == len(word), (word, counts)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
def test_every_character_is_counted_once(texts: list[str]) -> None:
    counts = dict(zip(SCRIPTS, script_counts([text.encode() for text in texts]).tolist(), strict=True))
    joined = "".join(texts)
    assert sum(counts.values()) == len(joined)
    kinds = [unicodedata.category(c)[0] for c in joined]
    controls = sum(c in "\t\n\v\f\r\x85" for c in joined)
    assert counts["digits"] == kinds.count("N") and counts["punctuation"] == kinds.count("P")
    assert counts["symbols"] == kinds.count("S") and counts["white_space"] == kinds.count("Z") + controls


@pytest.mark.parametrize("start", [0x3300, 0x4D00, 0x9F00, 0xAB00, 0xD700])
def test_classes_that_are_not_looked_up(start: int) -> None:
    """The large uniform ranges, over their borders: one character at a time gives the same."""
    for point in range(start, start + 0x200):
        if not 0xD800 <= point < 0xE000:
            found = script_counts([chr(point).encode()])
            assert found[SCRIPTS.index(script_of(chr(point)))] == found.sum() == 1, hex(point)
