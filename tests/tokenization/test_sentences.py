"""Sentence borders, English and Chinese, against borders set by hand."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.sentences import split_sentences

BY_HAND = [
    "One.| Two!| Three?",
    "It cost 3.14 dollars.| He paid 1.50.| 42 people saw it.",
    "Mr. Smith met Dr. J. R. Jones, Ph.D. at noon.| They talked.",
    "See e.g. Figure 2, i.e. the plot.| Fig. 3 differs.| No. 5 is best.| No.| Never.",
    "He lives in the U.S. Army base.| She left the U.S.| The end.",
    "\"Really?\" he asked.| \"Yes!\" she said.| 'Go.'| So he went.",
    "“Stop.”| “Why?”| (He did not know.)| [End.]",
    "Wait... what is it?| Well…| Then he left...| And so on.",
    "What?!| No!!!| It was ok. then it went on? maybe",
    "it was I.| You know.",
    "First.\n|Second.  \n  \n| Third.|  Fourth.\n",
    "A title without a stop\n\n|The text.| More",
    "visit example.org or a.b.c now.| Done",
    "床前明月光，疑是地上霜。|举头望明月，低头思故乡。",
    "你好！|你去哪儿？|回家；|再见……|他走了。",
    "他说：“你好。”|她答：“好！”|走了。",
    "「行くの？」|彼は聞いた。|『はい。』|終わり",
    "静夜思\n|李白\n|床前明月光，疑是地上霜。\n|举头望明月。",
    "他用 Python 3.11。|It works.| 很好。|Ok?! |".removesuffix(" |"),
    "价格是3.5元。|真的吗？！|真的。",
    "...|".removesuffix("|"), "", " ", "\n", "。", "word", "Mr.", "a\nb", "。。。", "Hello.   ", "  Hello.| World.",
]  # fmt: skip


@pytest.mark.parametrize("marked", BY_HAND)
def test_borders_set_by_hand(marked: str):
    assert split_sentences(marked.replace("|", "")) == [part for part in marked.split("|") if part]


@given(st.text(st.sampled_from("aB1 .!?…\n\t\"'”(。！？；“」好\u3000é")) | st.text())
def test_sentences_are_the_text(text: str):
    sentences = split_sentences(text)
    assert "".join(sentences) == text
    assert all(sentences) and (len(sentences) < 2 or all(sentence.strip() for sentence in sentences))


@pytest.mark.parametrize("run", [".", ".…", "…", "!?", "\n", "\n ", "。", "”", ". ", "。\n"])
def test_long_runs_of_stops_and_blanks_take_no_time_of_their_square(run: str):
    """A hundred thousand times the square would be hours."""
    text = f"Name {run * 300_000}x end"
    assert "".join(split_sentences(text)) == text


@pytest.mark.realdata
def test_real_text_has_sentences_of_plausible_length(realdata: Path):
    def lengths(name: str, count: int) -> tuple[float, float]:
        with gzip.open(realdata / name, "rt", encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in islice(file, count)]
        split = [split_sentences(text) for text in texts]
        assert ["".join(parts) for parts in split] == texts
        return sum(map(len, split)) / count, sum(map(len, texts)) / sum(map(len, split))

    per_document, characters = lengths("imdb/train.jsonl.gz", 500)
    assert 8 < per_document < 16 and 80 < characters < 140  # corpus linguistics: about 20 words a sentence
    per_document, characters = lengths("zh_poetry/poems.jsonl.gz", 500)
    assert 4 < per_document < 12 and 6 < characters < 20  # a couplet is 10 or 14 characters and its stops
