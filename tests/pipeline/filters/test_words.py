"""Words: against spaCy where it is, the batch's table against the plain function, Arrow's white space against str's."""

from __future__ import annotations

import gc
import gzip
import json
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from pipeline.filters import word_table
from pipeline.filters.base import TextBatch
from pipeline.filters.characters import cjk_leads
from pipeline.filters.english import SPECIAL
from pipeline.filters.gopher_repetition import mostly_cjk
from pipeline.filters.punctuation import NO_WORD
from pipeline.filters.word_table import WordTable
from pipeline.filters.words import is_cjk, words_of

from .texts import batches, texts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("I don't; he'll've gone.", ["I", "do", "n't", ";", "he", "'ll", "'ve", "gone", "."]),
        ("Spielberg's well-known U.S. film...", ["Spielberg", "'s", "well", "-", "known", "U.S.", "film", "..."]),
        ('("Mr. Bean"):', ["(", '"', "Mr.", "Bean", '"', "):"]),
        ("see http://a.bc/d?e=f, it's 5km", ["see", "http://a.bc/d?e=f", ",", "it", "'s", "5", "km"]),
        ("end.The next", ["end", ".", "The", "next"]),
        ("春眠，OK不覺", ["春", "眠", "，", "OK", "不", "覺"]),
    ],
)
def test_examples(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@settings(deadline=None)
@given(texts)
def test_words_are_the_text_without_white_space(text: str) -> None:
    words = words_of(text)
    assert "".join(words) == "".join(text.split())
    assert all(words) and all(is_cjk(word) or not any(map(is_cjk, word)) for word in words)


@settings(deadline=None)
@given(batches)
def test_the_table_counts_what_the_plain_function_finds(documents: list[str]) -> None:
    table = WordTable(TextBatch([document.encode() for document in documents]))
    plain = [words_of(document) for document in documents]
    counted = [[word for word in words if not set(word) <= NO_WORD] for words in plain]
    assert table.sums("words").tolist() == [len(words) for words in plain]
    assert table.sums("counted").tolist() == [len(words) for words in counted]
    assert table.sums("counted_characters").tolist() == [sum(map(len, words)) for words in counted]
    assert table.sums("alphabetic").tolist() == [sum(any(c.isalpha() for c in w) for w in words) for words in plain]
    assert table.sums("cjk").tolist() == [sum(map(is_cjk, words)) for words in plain]
    assert table.stop_words().tolist() == [len(set(words) & set(word_table.STOP_WORDS)) for words in plain]
    assert table.mostly_cjk.tolist() == [mostly_cjk(words) for words in plain]
    everything = [word for words in plain for word in words]
    assert table.lengths.tolist() == list(map(len, everything))
    assert len(np.unique(table.numbers)) == len(set(everything))
    assert len(set(zip(table.numbers.tolist(), everything, strict=True))) == len(set(everything))


def test_forgetting_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [b"a rose is a rose, isn't it?", "春眠不覺曉".encode()]
    before = WordTable(TextBatch(documents)).sums("words").tolist()
    monkeypatch.setattr(word_table, "_MAX_BYTES", 0)
    assert [WordTable(TextBatch(documents)).sums("words").tolist() for _ in range(3)] == [before] * 3


def test_a_batch_and_its_words_go_without_the_collector() -> None:
    """A cycle would keep some megabytes alive for every batch until the collector comes by."""
    batch = TextBatch([b"a rose is a rose"])
    assert batch.once(WordTable).sums("words").tolist() == [5] and len(batch.once(WordTable).documents) == 5
    alive = weakref.ref(batch)
    gc.disable()
    try:
        del batch
        assert alive() is None
    finally:
        gc.enable()


def test_arrow_cuts_at_the_white_space_python_knows() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    pieces = pc.list_value_length(pc.utf8_split_whitespace(pa.array([f"a{each}b" for each in characters])))
    assert [each for each, count in zip(characters, pieces.to_pylist(), strict=True) if count == 2] == [
        each for each in characters if each.isspace()
    ]


def test_cjk_bytes_are_cjk_characters() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    batch = TextBatch(["".join(characters).encode()])
    starts = np.flatnonzero((batch.buffer[:-1] & 0xC0) != 0x80)
    assert [c for c, lead in zip(characters, cjk_leads(batch)[starts], strict=True) if lead] == list(
        filter(is_cjk, characters)
    )


def test_special_cases_are_spacys() -> None:
    spacy = pytest.importorskip("spacy")
    rules = spacy.blank("en").tokenizer.rules
    theirs = {chunk: tuple(each[65] for each in parts) for chunk, parts in rules.items()}
    assert {chunk: parts for chunk, parts in SPECIAL.items() if theirs.get(chunk) != parts} == {}
    # What a whole word is by the general rules as well, and white space, needs no entry.
    left = {chunk for chunk in theirs.keys() - SPECIAL.keys() if chunk.strip()}
    assert all(theirs[chunk] == (chunk,) == tuple(words_of(chunk)) for chunk in left)


@pytest.mark.realdata
def test_words_of_reviews_are_spacys(realdata: Path) -> None:
    tokenizer = pytest.importorskip("spacy").blank("en").tokenizer
    with gzip.open(realdata / "imdb" / "test.jsonl.gz") as file:
        reviews = [json.loads(next(file))["text"] for _ in range(499)]
    different = [
        review for review in reviews if words_of(review) != [w for t in tokenizer(review) if (w := t.text.strip())]
    ]
    assert not different
