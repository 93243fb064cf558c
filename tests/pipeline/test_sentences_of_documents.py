"""Sentence borders in tokens: only where the sentences' tokens are the document's."""

from __future__ import annotations

import gzip
import json
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.mapping.encode import Encoder
from pipeline.mapping.structured import StructuredEncoder
from tokenization.sentences import split_sentences
from tokenization.tokenizer import Tokenizer
from tokenization.train import KINDS, train_tokenizer

TEXTS = [
    "One two. Three four! Five, six? 3.14 is pi.\n\nA new line.",
    "你好。你好吗？我很好！",
    "Mr. Fox. Yes.",
    "x",
    "",
] * 4


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(request.param, TEXTS, 400)


def borders(tokenizer: Tokenizer, texts: list[str]) -> list[list[int] | None]:
    """Ends of the sentences of each text; checked: their tokens are the sentences' own. None for one sentence."""
    hashes = np.zeros(len(texts), "V16")
    encoded = StructuredEncoder(tokenizer, Encoder(tokenizer, None), True).encode([t.encode() for t in texts], hashes)
    assert list(encoded.extras) == ["sentences"]
    rows = encoded.extras["sentences"].tolist()
    starts = np.cumsum(encoded.lengths) - encoded.lengths
    result: list[list[int] | None] = []
    for place, text in enumerate(texts):
        content = int(encoded.lengths[place]) - len(tokenizer.roles.terminator)
        tokens = encoded.tokens[starts[place] : starts[place] + content].tolist()
        assert tokens == tokenizer.encode(text)
        own = [tokenizer.encode(sentence) for sentence in split_sentences(text)]
        ends = [end for document, end in rows if document == place]
        fits = [token for ids in own for token in ids] == tokens and sum(map(bool, own)) > 1
        assert bool(ends) == fits
        if fits:
            assert [tokens[a:b] for a, b in pairwise([0, *ends])] == [ids for ids in own if ids]
        result.append(ends or None)
    return result


def test_english_and_chinese(tokenizer: Tokenizer):
    found = borders(tokenizer, TEXTS[:5])
    assert found[0] is not None and len(found[0]) == 5
    assert found[2] is not None and len(found[2]) == 2
    assert found[3:] == [None, None]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.sampled_from('ab. !?\n"”。！x1A')) | st.text(max_size=15), max_size=4))
def test_sentence_tokens_are_the_document_s(tokenizer: Tokenizer, texts: list[str]):
    borders(tokenizer, texts)


@pytest.mark.realdata
def test_bert_s_vocabulary_has_borders_in_nearly_every_document(realdata: Path):
    """For WordPiece every border between sentences is one between tokens."""
    tokenizer = Tokenizer.load(realdata / "bert-base-uncased" / "vocab.txt")
    for name in ("imdb/train.jsonl.gz", "zh_poetry/poems.jsonl.gz"):
        with gzip.open(realdata / name, "rt", encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in islice(file, 150)]
        several = [text for text in texts if len(split_sentences(text)) > 1]
        assert len(several) > 140 and None not in borders(tokenizer, several)
