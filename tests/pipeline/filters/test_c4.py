"""C4's rules against plain code after the paper and datatrove; what is rewritten."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.base import TextBatch
from pipeline.filters.c4 import C4Filter, C4Limits
from pipeline.filters.punctuation import TERMINAL
from pipeline.filters.words import is_cjk, words_of

from .texts import batches

DEFAULT = C4Limits(True, True, 5, 3, 1000, True, True, True, True)
SENTENCES = "We went there. It was cold! Was it? Yes it was. We left."


def sentences(line: str) -> int:
    """Sentences as spaCy's sentencizer finds them among the words of a line."""
    count, ended = 1, False
    for word in words_of(line):
        if word in TERMINAL:
            ended = True
        elif not all(unicodedata.category(character).startswith("P") for character in word):
            count += ended
            ended = False
    return count


def plain(text: str, limits: C4Limits) -> tuple[str | None, str]:
    kept, count = [], 0
    for line in text.splitlines():
        line = line.strip()
        pieces = re.split(r"\s", "".join(f" {c} " if is_cjk(c) else c for c in line))
        if any(len(piece) > limits.max_word_length for piece in pieces):
            continue
        number = max(len(line.split()), 0)
        if limits.citations:
            line = re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line)
        if limits.line_punctuation and (not re.search("[.?!\"'。！？”’」』]$", line) or line.endswith("...")):
            continue
        if number + sum(map(is_cjk, line)) < limits.min_line_words and number < limits.min_line_words:
            continue
        lower = line.lower()
        if limits.lorem_ipsum and "lorem ipsum" in lower:
            return "c4_lorem_ipsum", text
        if limits.javascript and "javascript" in lower:
            continue
        if limits.curly_bracket and "{" in line:
            return "c4_curly_bracket", text
        policy = r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
        if limits.policy and re.search(policy, lower):
            continue
        kept.append(line)
        count += sentences(line)
    if count < limits.min_sentences:
        return "c4_few_sentences", text
    return None, "\n".join(kept).strip()


@settings(deadline=None)
@given(
    batches,
    st.builds(
        C4Limits, st.booleans(), st.booleans(), st.integers(0, 4), st.integers(0, 4), st.sampled_from([5, 1000]),
        st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    ),
)  # fmt: skip
def test_against_plain_code(documents: list[str], limits: C4Limits) -> None:
    verdicts = C4Filter(limits).judge(TextBatch([document.encode() for document in documents]))
    for place, document in enumerate(documents):
        reason, left = plain(document, limits)
        assert verdicts.dropped.get(place) == reason
        assert verdicts.rewritten.get(place, document.encode()).decode() == left
        assert not (place in verdicts.dropped and place in verdicts.rewritten)


@pytest.mark.parametrize(
    ("text", "reason", "left"),
    [
        (SENTENCES, None, None),
        ("Only one sentence here.", "c4_few_sentences", None),
        (f"A menu\n{SENTENCES}\nHome | About", None, SENTENCES),
        (f"Please enable JavaScript to see this.\n{SENTENCES}", None, SENTENCES),
        (f"{SENTENCES}\nThis site uses cookies, you know.", None, SENTENCES),
        (f"{SENTENCES}\nIt goes on and on...", None, SENTENCES),
        (f"Pigs[1] can[edit] fly[citation needed].\n{SENTENCES}", None, f"Pigs can fly.\n{SENTENCES}"),
        (f"{SENTENCES}\nLorem ipsum dolor sit amet.", "c4_lorem_ipsum", None),
        (f"{SENTENCES}\nint main() {{ return 0; }} is C.", "c4_curly_bracket", None),
        (f"{SENTENCES}\n{'x' * 1001} is a word.", None, SENTENCES),
        ("今天很冷。我们去了海边！好玩吗？是的。我们回家了。", None, None),
        ("今" * 1500 + "天很冷。我们去了海边！好玩吗？是的。我们回家了。", None, None),
        ("他说：“今天很冷。”\n我们去了海边！好玩吗？\n是的。我们回家了。\n首页 登录 注册", None,
         "他说：“今天很冷。”\n我们去了海边！好玩吗？\n是的。我们回家了。"),
    ],
)  # fmt: skip
def test_examples(text: str, reason: str | None, left: str | None) -> None:
    verdicts = C4Filter(DEFAULT).judge(TextBatch([text.encode()]))
    assert verdicts.dropped.get(0) == reason
    assert verdicts.rewritten.get(0, b"").decode() == (left or "")


def test_what_is_left_is_left_alone() -> None:
    first = C4Filter(DEFAULT).judge(TextBatch([f"A menu\n{SENTENCES}\nHome".encode()])).rewritten[0]
    assert C4Filter(DEFAULT).judge(TextBatch([first])).rewritten == {}


def test_chat_records_pass() -> None:
    batch = TextBatch([b"Hi", b"Hi"], [(("user", b"Hi"),), ()])
    verdicts = C4Filter(DEFAULT).judge(batch)
    assert verdicts.dropped == {1: "c4_few_sentences"}


def test_chunks_that_were_forgotten_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.filters.c4._MAX_KNOWN", 3)
    limits = replace(DEFAULT, min_sentences=7)
    assert C4Filter(limits).judge(TextBatch([(SENTENCES + " More. Go on.").encode()] * 3)).dropped == {}
