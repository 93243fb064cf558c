"""Gopher's rules against plain code after the paper and datatrove, on made texts with limits that often bite."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.gopher_quality import GopherQualityFilter, GopherQualityLimits
from pipeline.filters.gopher_repetition import GopherRepetitionFilter, GopherRepetitionLimits, mostly_cjk
from pipeline.filters.punctuation import NO_WORD
from pipeline.filters.words import words_of

from .texts import batches, judge

QUALITY = GopherQualityLimits(50, 100_000, 3, 10, 0.1, 0.9, 0.3, 0.8, 2)
REPETITION = GopherRepetitionLimits(0.3, 0.3, 0.2, 0.2, (0.2, 0.18, 0.16), (0.15, 0.14, 0.13, 0.12, 0.11, 0.1))
share = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0])
PROSE = "I have been to the sea with my friends and we saw that the water was cold. Nobody wanted to swim there. "


def plain_quality(text: str, limits: GopherQualityLimits) -> str | None:
    words = words_of(text)
    spaced = not mostly_cjk(words)
    counted = [word for word in words if not NO_WORD.issuperset(word)]
    n, lines = max(1, len(words)), text.splitlines()
    mean = sum(map(len, counted)) / max(1, len(counted))
    stop_words = set(words) & {"the", "be", "to", "of", "and", "that", "have", "with"}
    bullets = [line for line in lines if line.lstrip()[:1] in ("•", "-") and line.strip()]
    dots = [line for line in lines if re.search(r"(\.\.\.|…)\s*$", line)]
    rules = {
        "gopher_few_words": len(counted) < limits.min_words,
        "gopher_many_words": len(counted) > limits.max_words,
        "gopher_short_words": spaced and mean < limits.min_word_length,
        "gopher_long_words": spaced and mean > limits.max_word_length,
        "gopher_hash_signs": text.count("#") / n > limits.max_symbol_ratio,
        "gopher_ellipses": (text.count("...") + text.count("…")) / n > limits.max_symbol_ratio,
        "gopher_bullet_lines": bool(lines) and len(bullets) / len(lines) > limits.max_bullet_lines,
        "gopher_ellipsis_lines": bool(lines) and len(dots) / len(lines) > limits.max_ellipsis_lines,
        "gopher_words_without_letters": spaced
        and sum(bool(re.search(r"[^\W\d_]", word)) or any(map(str.isalpha, word)) for word in words) / n
        < limits.min_alphabetic_words,
        "gopher_few_stop_words": spaced and len(stop_words) < limits.min_stop_words,
    }
    return next((reason for reason, drops in rules.items() if drops), None)


def plain_repetition(text: str, limits: GopherRepetitionLimits) -> str | None:
    size = max(1, len(text))

    def repeats(parts: list[str]) -> tuple[float, float]:
        again = [part for at, part in enumerate(parts) if part in parts[:at]]
        return len(again) / len(parts), sum(map(len, again)) / size

    of_paragraphs = (limits.max_repeated_paragraphs, limits.max_repeated_paragraph_characters)
    of_lines = (limits.max_repeated_lines, limits.max_repeated_line_characters)
    for what, parts, (number, characters) in (
        ("paragraph", re.split(r"\n{2,}", text.strip()), of_paragraphs),
        ("line", re.split(r"\n+", text), of_lines),
    ):
        if repeats(parts)[0] > number:
            return f"gopher_repeated_{what}s"
        if repeats(parts)[1] > characters:
            return f"gopher_repeated_{what}_characters"
    words = words_of(text)
    scale, space = (2, "") if mostly_cjk(words) else (1, " ")
    for n, limit in enumerate(limits.max_top_ngrams, 2):
        counts = Counter(tuple(words[at : at + n * scale]) for at in range(len(words) - n * scale + 1))
        if counts:
            top, count = counts.most_common(1)[0]
            if (count > 1 or scale == 1) and len(space.join(top)) * count / size > limit:
                return f"gopher_top_{n}gram"
    for n, limit in enumerate(limits.max_repeated_ngrams, 5):
        seen, at, repeated = [], 0, 0
        while at < len(words) - n * scale + 1:
            ngram = words[at : at + n * scale]
            if ngram in seen:
                repeated += len("".join(ngram))
                at += n * scale
            else:
                seen.append(ngram)
                at += 1
        if repeated / size > limit:
            return f"gopher_repeated_{n}grams"
    return None


@settings(deadline=None)
@given(
    batches,
    st.builds(
        GopherQualityLimits, st.integers(0, 9), st.sampled_from([1, 20, 100]), st.sampled_from([0, 2, 3.5]),
        st.sampled_from([4, 5.5, 50]), share, share, share, share, st.integers(0, 3),
    ),
)  # fmt: skip
def test_quality_against_plain_code(documents: list[str], limits: GopherQualityLimits) -> None:
    found = judge(GopherQualityFilter(limits), *documents)
    assert found == [plain_quality(document, limits) for document in documents]


shares = st.lists(share, max_size=4).map(tuple)


@settings(deadline=None)
@given(
    batches,
    st.one_of(st.just(REPETITION), st.builds(GopherRepetitionLimits, share, share, share, share, shares, shares)),
)
def test_repetition_against_plain_code(documents: list[str], limits: GopherRepetitionLimits) -> None:
    found = judge(GopherRepetitionFilter(limits), *documents)
    assert found == [plain_repetition(document, limits) for document in documents]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE * 3, None),
        ("Hello there.", "gopher_few_words"),
        ("it is a to be or so " * 20, "gopher_short_words"),
        ("internationalization notwithstanding " * 60, "gopher_long_words"),
        (PROSE * 3 + "# " * 60, "gopher_hash_signs"),
        (PROSE * 3 + "well ... " * 15, "gopher_ellipses"),
        ("\n".join(["- " + PROSE] * 5), "gopher_bullet_lines"),
        ("\n".join([PROSE + "...", PROSE, PROSE + "… "]), "gopher_ellipsis_lines"),
        (PROSE * 3 + "1234 " * 40, "gopher_words_without_letters"),
        ("Nobody likes apples or cherries on any day, as far as I know. " * 9, "gopher_few_stop_words"),
        ("春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少？" * 4, None),
        ("春眠不覺曉", "gopher_few_words"),
    ],
)
def test_quality_examples(text: str, reason: str | None) -> None:
    assert judge(GopherQualityFilter(QUALITY), text) == [reason]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE, None),
        ("", None),
        (f"{PROSE}\n\nBuy.\n\nBuy.\n\nBuy.", "gopher_repeated_paragraphs"),
        (f"{PROSE}\n\n{PROSE}\n\nEnd.\n\nStop.\n\nGo.", "gopher_repeated_paragraph_characters"),
        (f"{PROSE}\nBuy.\nBuy.\nBuy.", "gopher_repeated_lines"),
        (f"{PROSE}\n{PROSE}\nEnd.\nStop.\nGo.", "gopher_repeated_line_characters"),
        (PROSE + "so good " * 6, "gopher_top_2gram"),
        (PROSE * 2, "gopher_repeated_5grams"),
        ("月落烏啼霜滿天，江楓漁火對愁眠。姑蘇城外寒山寺，夜半鐘聲到客船。", None),
        ("歸去來，歸去來。陸行無車，水行無船。足重繭兮，羊腸九折，歷絕嶮而盤盤。", None),
        ("买买买买买买买买买买买买", "gopher_top_2gram"),
    ],
)
def test_repetition_examples(text: str, reason: str | None) -> None:
    assert judge(GopherRepetitionFilter(REPETITION), text) == [reason]


def test_hashes_of_ngrams_differ_by_document() -> None:
    """What one document says must not count as repeated in the next."""
    assert judge(GopherRepetitionFilter(REPETITION), *[PROSE] * 7) == [None] * 7
