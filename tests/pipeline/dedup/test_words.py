"""Words and shingles against a plain reading of their definition; their hashes tell the same things apart."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.dedup.shingles import shingle_hashes
from pipeline.dedup.words import CHUNK, by_alphabet, word_hashes

UNSPACED = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "TIBETAN")
TEXTS = st.lists(
    st.text(st.sampled_from("ab Az09'_-\n.,ÉéßΣ春眠。、ｱＡ１กี한글\U00020000\U0001f600  ̈à"), max_size=30)
    | st.text(max_size=20),
    max_size=8,
)


def plain_words(text: str) -> list[str]:
    """The definition, character by character."""
    words: list[str] = []
    open_ = False
    for character in text:
        name = unicodedata.name(character, "")
        if unicodedata.category(character)[0] not in "LNM" and ord(character) < 0x20000:
            open_ = False
            continue
        folded = unicodedata.normalize("NFKC", character).lower()
        folded = folded if len(folded) == 1 and ord(character) < 0x20000 else character
        alone = ord(character) >= 0x20000 or name.startswith(UNSPACED)
        if open_ and not alone:
            words[-1] += folded
        else:
            words.append(folded)
        open_ = not alone
    return words


def hashes_of(texts: list[str], size: int = 1) -> list[list[int]]:
    """The hashes of each text's words (size 1, 64 bits) or shingles."""
    data = [text.encode() for text in texts]
    result: list[list[int]] = [[] for _ in texts]
    for places in by_alphabet(data):
        group = [data[place] for place in places]
        values, counts = word_hashes(group, np.uint64) if size == 1 else shingle_hashes(group, size, np.uint64)
        assert counts.sum() == len(values)
        for place, part in zip(places.tolist(), np.split(values, np.cumsum(counts)[:-1]), strict=True):
            result[place] = part.tolist()
    return result


@given(TEXTS)
@example(["Don't stop", "don t STOP!", "春眠不覺曉,abc春", "", " .", "café cafe"])
def test_words_are_those_of_the_definition(texts: list[str]) -> None:
    names: dict[int, str] = {}
    words: dict[str, int] = {}
    for text, hashes in zip(texts, hashes_of(texts), strict=True):
        expected = plain_words(text)
        assert len(hashes) == len(expected)
        for value, word in zip(hashes, expected, strict=True):
            assert names.setdefault(value, word) == word and words.setdefault(word, value) == value


@given(TEXTS, st.integers(2, 6))
def test_shingles_are_runs_of_words(texts: list[str], size: int) -> None:
    names: dict[int, tuple[str, ...]] = {}
    runs: dict[tuple[str, ...], int] = {}
    for text, hashes in zip(texts, hashes_of(texts, size), strict=True):
        words = plain_words(text)
        expected = [tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))] if words else []
        assert len(hashes) == len(expected)
        for value, run in zip(hashes, expected, strict=True):
            assert names.setdefault(value, run) == run and runs.setdefault(run, value) == value


def test_scripts_without_spaces_are_cut_into_characters() -> None:
    for text in ("春眠不覺曉", "ひらがな", "สวัสดี", "𠀀𠀁"):
        assert len(hashes_of([text])[0]) == len(text)
    assert len(hashes_of(["한국어 문장"])[0]) == 2
    assert len(hashes_of(["我用python3写code"])[0]) == 5


def test_case_width_punctuation_and_blanks_do_not_matter() -> None:
    assert hashes_of(["The  END — of (it)"]) == hashes_of(["the end of it."]) == hashes_of(["ＴＨＥ　end,of\tit！"])
    assert hashes_of(["a b"]) != hashes_of(["b a"])


@pytest.mark.parametrize("accent", ["", "é"])
def test_longer_than_a_chunk(accent: str) -> None:
    words = [f"w{n}" for n in range(CHUNK // 3)]
    text = " ".join([*words, accent])
    assert hashes_of([text])[0][: len(words)] == [hashes_of([word])[0][0] for word in words]
    long = "x" * (2 * CHUNK)
    [[head, tail]] = hashes_of([f"{long} tail"])
    assert [tail] == hashes_of(["tail"])[0] and [head] != hashes_of(["x"])[0]
    assert len(hashes_of([f"{accent} {long}{long}"])[0]) == 1 + bool(accent)
