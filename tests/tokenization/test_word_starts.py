"""Where words begin: beside what the tokenizer's own pre-tokenizer takes for words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from tokenization.tokenizer import Tokenizer
from tokenization.train import train_tokenizer
from tokenization.word_starts import WordStarts

TEXTS = [
    "The quick brown foxes jumped, unbelievably, over lazy dogs (and a cat).",
    "Ein naïves Café: größer als “gedacht” — wirklich?",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "Привет, мир! Как дела?",
]


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of `text` as the tables see them."""
    ids = tokenizer.encode(text)
    starts = np.flatnonzero(WordStarts(tokenizer).starts(np.array([ids]))[0])
    return [tokenizer.decode(ids[a:b]).strip() for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]


def pre_tokenized(tokenizer: Tokenizer, text: str) -> list[bool]:
    """Whether each token begins a word, as the library counts words."""
    encoding = tokenizer._plain.encode(text, add_special_tokens=False)
    numbers = encoding.word_ids
    return [a != b for a, b in zip(numbers, [None, *numbers], strict=False)]


@pytest.mark.parametrize("kind", ["wordpiece", "wordlevel"])
def test_where_the_pre_tokenizer_says_it_all_the_tables_agree(kind: str):
    tokenizer = train_tokenizer(kind, TEXTS, 120)
    for text in TEXTS:
        ids = np.array([tokenizer.encode(text)])
        assert WordStarts(tokenizer).starts(ids)[0].tolist() == pre_tokenized(tokenizer, text)


@pytest.mark.realdata
def test_berts_vocabulary_on_reviews(realdata: Path):
    tokenizer = Tokenizer.load(realdata / "bert-base-uncased" / "vocab.txt")
    text = "An unforgettable, heart-wrenching biopic; it's Kieślowski's masterwork! 明月 10/10."
    found = WordStarts(tokenizer).starts(np.array([tokenizer.encode(text)]))[0].tolist()
    assert found == pre_tokenized(tokenizer, text) and not all(found)


@pytest.mark.parametrize("size", [300, 340, 420])
def test_byte_level_words_are_those_of_the_pattern(size: int):
    """On letters and single signs, whatever the merges; the pattern keeps digits apart and Chinese together."""
    tokenizer = train_tokenizer("bpe", TEXTS, size)
    for text in (TEXTS[0], TEXTS[3], "unbelievable dogs over foxes"):
        starts = WordStarts(tokenizer).starts(np.array([tokenizer.encode(text)]))[0].tolist()
        assert starts == pre_tokenized(tokenizer, text)


def test_chinese_characters_numbers_and_lines():
    tokenizer = train_tokenizer("bpe", TEXTS, 300)  # no merges for most: characters are three bytes
    assert words(tokenizer, "疑是地上霜。") == list("疑是地上霜。")
    assert words(tokenizer, "in 2024 at 10 € now") == ["in", "2024", "at", "10", "€", "now"]
    assert words(tokenizer, "a dog\n\nThe end") == ["a", "dog", "", "The", "end"]


@pytest.mark.parametrize("kind", ["unigram", "fallback"])
def test_sentencepiece_words_begin_with_its_blank(kind: str, build: SimpleNamespace):
    tokenizer = (
        train_tokenizer("unigram", TEXTS, 400)
        if kind == "unigram"
        else Tokenizer.from_files(build.files(build.byte_fallback()))
    )
    assert words(tokenizer, "the bath, é and 月光") == ["the", "bath", ",", "é", "and", "月", "光"]


def test_a_suffix_ends_words():
    """BPE as in GPT-1: </w> stands where a word ends."""
    vocabulary = {name: n for n, name in enumerate(["<unk>", "a", "b", "a</w>", "b</w>", "ab</w>"])}
    built = tokenizers.Tokenizer(models.BPE(vocabulary, [("a", "b</w>")], unk_token="<unk>", end_of_word_suffix="</w>"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = Tokenizer.from_files({"tokenizer.json": built.to_str().encode()})
    ids = tokenizer.encode("ab aa bab")
    assert WordStarts(tokenizer).starts(np.array([ids]))[0].tolist() == pre_tokenized(tokenizer, "ab aa bab")
