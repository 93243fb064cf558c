"""Texts that hypothesis makes to try filters on: English, Chinese, mixed, symbols, repetition, odd white space."""

from __future__ import annotations

from hypothesis import strategies as st

from pipeline.filters.base import Filter, TextBatch

ENGLISH = """the be to of and that have with a movie was great I don't think it's bad, he said: "No!" They'll cannot
U.S. Mr. e.g. 3.5km well-known http://a.bc/d?e=f www.example.com ... wait… (really) [12] [edit] C++ 10am #tag -- – $5
can't've film.The :) ):) "quoted" 'tis isn’t Spielberg's word,word and/or 1,000 50% <br /><br />The 4x4 a@b.org"""
CHINESE = [
    "春眠不覺曉",
    "，",
    "。",
    "处处",
    "闻",
    "啼鸟",
    "！",
    "“",
    "”",
    "夜来风雨声",
    "？",
    "カタカナ",
    "𠮷",
    "（",
    "）",
    "…",
]
ODD = ["😀", "•", "-", "- item", "□□□", "###", "=====", "12345", "é", "\u00a0", "\u3000", "\u2028", "½", "ª", "＃１"]
LAYOUT = ["\n", "\n\n", " ", "  ", "\t", "\r\n", "\x0b", "\x85", "\n \n"]
PHRASES = ["lorem ipsum", "JavaScript", "{", "uses cookies", "Terms of Use", "[citation needed]", "a" * 1001]

words = st.one_of(
    st.sampled_from(ENGLISH.split()), st.sampled_from(CHINESE), st.sampled_from(ODD), st.text(max_size=6),
    st.from_regex(r"[A-Za-z'’.,:;!?()\-/0-9$%<>=]{1,12}", fullmatch=True),
)  # fmt: skip
spaced = st.lists(words, max_size=30).map(" ".join)
lines = st.lists(st.one_of(spaced, st.sampled_from(PHRASES), st.sampled_from([""])), max_size=8).map("\n".join)
joined = st.lists(st.one_of(words, st.sampled_from(LAYOUT), st.sampled_from(PHRASES)), max_size=60).map("".join)
repeated = st.builds(lambda text, times, end: text * times + end, spaced, st.integers(1, 12), spaced)
chinese = st.lists(st.sampled_from([*CHINESE, "\n"]), max_size=80).map("".join)
texts = st.one_of(
    st.just(""), st.characters(codec="utf-8"), spaced, lines, joined, repeated, chinese, st.text(max_size=80)
).map(lambda text: text.encode("utf-8", "ignore").decode())
batches = st.lists(texts, min_size=1, max_size=9)


def judge(filter_: Filter, *documents: str) -> list[str | None]:
    """The reasons of a batch."""
    dropped = filter_.judge(TextBatch([document.encode() for document in documents])).dropped
    return [dropped.get(place) for place in range(len(documents))]
