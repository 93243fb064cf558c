"""Repeated lines and n-grams against plain code; spam goes, prose and poems stay."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.base import TextBatch
from pipeline.filters.repetition import MIN_SAMPLES, N_GRAM, RepetitionFilter, repeated_ngrams

from .texts import batches, judge, texts

POEM = "月落烏啼霜滿天，江楓漁火對愁眠。\n姑蘇城外寒山寺，夜半鐘聲到客船。\n"
PROSE = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light."""


def plain_lines(text: str, limit: float) -> str | None:
    seen: set[str] = set()
    repeated = total = 0
    for line in text.split("\n"):
        total += len(line.encode())
        repeated += len(line.encode()) if line in seen else 0
        seen.add(line)
    return "repeated_lines" if total and repeated / total > limit else None


def _sampled(four: bytes, every: int) -> bool:
    mixed = 0
    for byte, multiplier in zip(four, (37, 91, 167, 59), strict=True):
        mixed = (mixed + byte) * multiplier % 256
    return mixed < 256 // every


def plain_ngrams(data: bytes) -> tuple[float, float]:
    """Repeated and all samples, one place after the other, as the module's text has it."""
    every = 32 if len(data) < 512 else 64
    seen: set[bytes] = set()
    repeated = total = 0.0
    before = 0
    last = len(data) - N_GRAM
    padded = data + b"\xff\0\0\0"
    for place in [*range(last + 1), None]:
        if place is not None and not _sampled(padded[place : place + 4], every):
            continue
        gap = (max(0, last) if place is None else place) - before
        if gap > (224 if len(data) < 512 else 448 if len(data) < 1024 else 768):
            dense = [data[at : at + N_GRAM] for at in range(before, before + gap)]
            repeated += (gap - len(set(dense))) / every
            total += gap / every
        if place is not None:
            ngram = data[place : place + N_GRAM]
            repeated += ngram in seen
            total += 1
            seen.add(ngram)
            before = place
    return repeated, total


@settings(deadline=None)
@given(batches, st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_lines_against_plain_code(documents: list[str], limit: float) -> None:
    found = judge(RepetitionFilter(limit, None), *documents)
    assert found == [plain_lines(document, limit) for document in documents]


@settings(deadline=None)
@given(
    st.lists(st.builds(lambda text, times: (text * times).encode(), texts, st.integers(1, 40)), min_size=1, max_size=5)
)
def test_ngrams_against_plain_code(documents: list[bytes]) -> None:
    repeated, total = repeated_ngrams(TextBatch(documents))
    plain = [plain_ngrams(document) for document in documents]
    assert repeated.tolist() == pytest.approx([each[0] for each in plain])
    assert total.tolist() == pytest.approx([each[1] for each in plain])


@pytest.mark.parametrize(
    "text",
    [
        "buy now! " * 40,
        "哈" * 300,
        "ab" * 900,
        "0" * 5000,
        "买买买，" * 99,
        (PROSE + "\n") * 4,
        POEM * 5,
        "x\ty\n" * 200,
    ],
)
def test_spam_is_dropped(text: str) -> None:
    assert judge(RepetitionFilter(0.5, 0.5), text, "a good text", text)[::2] != [None, None]
    assert judge(RepetitionFilter(None, 0.5), text) == ["repeated_ngrams"]


@pytest.mark.parametrize("text", ["", "a", "ha ha ha", PROSE, POEM, PROSE * 2, "\n\n\n\n", "yes\nno\nyes and no"])
def test_what_is_short_or_said_twice_stays(text: str) -> None:
    assert judge(RepetitionFilter(0.5, 0.5), text) == [None]


def test_lines_give_the_reason_first() -> None:
    assert judge(RepetitionFilter(0.5, 0.5), "spam and eggs\n" * 99) == ["repeated_lines"]


def test_a_pattern_no_place_of_which_is_sampled_is_noticed() -> None:
    unsampled = [text for text in map("{:04d}".format, range(9999)) if _samples(text * 2) == 0]
    assert len(unsampled) > 1000
    assert all(
        reason == "repeated_ngrams" for reason in judge(RepetitionFilter(None, 0.5), *(t * 70 for t in unsampled[:50]))
    )


def _samples(text: str) -> int:
    """Samples of a text of less than SHORT bytes, whose four bytes come again and again."""
    return sum(_sampled(text.encode()[place : place + 4], 32) for place in range(4))


@pytest.mark.realdata
def test_reviews_and_poems_stay(realdata: Path) -> None:
    for name, count in (("imdb/train.jsonl.gz", 4999), ("zh_poetry/poems.jsonl.gz", 19_997)):
        with gzip.open(realdata / name) as file:
            documents = [json.loads(next(file))["text"] for _ in range(count)]
        dropped = [reason for reason in judge(RepetitionFilter(0.5, 0.5), *documents) if reason]
        assert len(dropped) <= 3
    assert MIN_SAMPLES > 1
