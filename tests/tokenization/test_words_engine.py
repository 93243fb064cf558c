"""The engine of remembered words equals the reference, on any text and in any order of batches."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quick import quick
from tokenization.engines import audit, fast, words
from tokenization.engines.reference import ReferenceEngine
from tokenization.engines.words import WordsEngine
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_tokenizer

KINDS = ["wordpiece", "wordlevel", "unigram"]
HARD = st.sampled_from(
    list("aB1 .,'!_-<>\t\n\r\x0b\x0c\x00\x1f\x7f\x85\xa0\xad") + list("éÉßΣσİıǅ\u0301\u0338≮Å가각ﬁ①")
    + list("\u2028\u3000\u200b\ufeff\ufffd▁") + list("明月\u3400\u4dbf\u4dc0\u9f7f\u9f80\u9fa5\u9fff\uf900\U00020000")
    + ["[MASK]", "<|endoftext|>", "  ", "...", "x" * 101, "don't", "😀", "。"]
)  # fmt: skip
TEXT = st.lists(HARD, max_size=14).map("".join) | st.text(max_size=20)


@pytest.fixture(scope="module", params=[(kind, True) for kind in KINDS] + [("wordpiece", False)], ids=str)
def tokenizer(request: pytest.FixtureRequest, build: SimpleNamespace) -> Tokenizer:
    kind, lowercase = request.param
    return train_tokenizer(kind, build.texts, 400, lowercase)


@pytest.fixture(scope="module")
def engine(tokenizer: Tokenizer) -> WordsEngine:
    built = fast.build(tokenizer)
    assert isinstance(built, WordsEngine)
    return built


def assert_equal(tokenizer: Tokenizer, engine: WordsEngine, texts: list[bytes], end: int | None = None) -> None:
    mine: tuple[np.ndarray, ...] = engine.encode_batch(texts, end)
    other: tuple[np.ndarray, ...] = ReferenceEngine(tokenizer).encode_batch(texts, end)
    for ours, theirs in zip(mine, other, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None, max_examples=150)
@given(texts=st.lists(TEXT, max_size=6), end=st.sampled_from([None, 3]))
def test_it_equals_the_reference(tokenizer: Tokenizer, engine: WordsEngine, texts: list[str], end: int | None):
    assert_equal(tokenizer, engine, [text.encode() for text in texts], end)


@pytest.mark.parametrize("step", quick([17, 1], [17]))
def test_every_character(tokenizer: Tokenizer, engine: WordsEngine, step: int):
    """Code points between letters, blanks and Chinese: a character that is removed, replaced or decomposed by the
    tokenizer must not be where a text is cut."""
    points = [p for p in range(0, 0x2FA20, step) if not 0xD800 <= p < 0xE000]
    texts = ["".join(f"a{chr(p)}b .{chr(p)}明 " for p in points[n : n + 200]) for n in range(0, len(points), 200)]
    assert_equal(tokenizer, engine, [text.encode() for text in texts])


def test_the_probes(tokenizer: Tokenizer, engine: WordsEngine):
    assert audit.probe_mismatch(tokenizer, engine) is None


def test_what_is_remembered_is_bounded(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "MOST_WORDS", 50)
    built = fast.build(tokenizer)
    assert isinstance(built, WordsEngine)
    for number in range(40):
        texts = [f"a{n} b{n * 7} the dog's {'y' * 70}{n}." for n in range(number, number + 9)]
        assert_equal(tokenizer, built, [text.encode() for text in texts], 2)
        assert len(built._runs) + len(built._words) <= 50 + 9 * 5
        assert all(len(run) <= words.LONGEST for run in built._runs)


def test_unknown_words_and_special_texts(build: SimpleNamespace):
    tokenizer = train_tokenizer("wordlevel", ["the cat"], 7)
    built = fast.build(tokenizer)
    assert built is not None
    assert built.encode_batch([b"the dog [PAD] cat"])[0].tolist() == [6, 1, 1, 1, 1, 5]


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFKC"}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}},
        {"pre_tokenizer": None},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers_it_cannot_prove_get_none(build: SimpleNamespace, kind: str, change: dict):
    definition = train_tokenizer(kind, build.texts, 400).json() | change
    assert fast.build(Tokenizer.from_files(build.files(json.dumps(definition)))) is None


def test_tokens_that_may_hold_blanks_get_none(build: SimpleNamespace):
    definition = train_tokenizer("wordpiece", build.texts, 400).json()
    added = {**definition["added_tokens"][0], "id": 400, "content": "of the", "special": False}
    definition["added_tokens"].append(added)
    assert fast.build(Tokenizer.from_files(build.files(json.dumps(definition)))) is None


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["imdb/train.jsonl.gz", "zh_poetry/poems.jsonl.gz"])
def test_bert_on_real_text(realdata: Path, name: str):
    tokenizer = Tokenizer.load(realdata / "bert-base-uncased")
    built = fast.build(tokenizer)
    assert isinstance(built, WordsEngine)
    with gzip.open(realdata / name, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"].encode() for line in itertools.islice(file, 600)]
    for first in range(0, 600, 150):
        assert_equal(tokenizer, built, texts[first : first + 150])
