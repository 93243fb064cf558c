"""Tokenizers of others: special tokens inside the model's vocabulary, and files that do not say their model's kind."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from tokenization.engines import fast
from tokenization.tokenizer import Tokenizer
from tokenization.train import KINDS, train_tokenizer
from tokenization.word_starts import WordStarts

SPECIAL = ["<pad>", "</s>", "<unk>", "<mask>"]
LETTERS = "abcdefghijklmnopqrstuvwxyz<>/|"


def unigram() -> tokenizers.Tokenizer:
    """As the files of T5 and XLM-R are: control tokens are pieces of score 0."""
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *((c, -5.0) for c in LETTERS),
        ("<mask>", 0.0),
    ]
    built = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2))
    built.pre_tokenizer, built.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return built


def words(model: type) -> tokenizers.Tokenizer:
    """Words between blanks, of which some are control tokens."""
    vocabulary = [*SPECIAL, "ab", "cd", "a", "b"]
    built = tokenizers.Tokenizer(model({word: place for place, word in enumerate(vocabulary)}, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return built


@pytest.fixture(scope="module", params=["unigram", "wordlevel", "wordpiece"])
def foreign(request: pytest.FixtureRequest, build: SimpleNamespace) -> Tokenizer:
    makers = {
        "unigram": unigram,
        "wordlevel": lambda: words(models.WordLevel),
        "wordpiece": lambda: words(models.WordPiece),
    }
    built = makers[request.param]()
    built.add_special_tokens(SPECIAL)
    return Tokenizer.from_files(build.files(built, {"eos_token": "</s>", "pad_token": "<pad>"}))


@given(st.lists(st.sampled_from([*SPECIAL, *LETTERS, "ab", "cd", " "]), max_size=9).map("".join))
def test_no_text_becomes_a_special_token(foreign: Tokenizer, text: str):
    unknown = foreign.token_to_id("<unk>")
    assert foreign.special_ids.isdisjoint(set(foreign.encode(text)) - {unknown})
    assert foreign.encode_ids([text]) == [foreign.encode(text)]


def test_names_ids_and_templates_stay(foreign: Tokenizer):
    assert [foreign.token_to_id(name) is not None for name in SPECIAL] == [True] * 4
    end = foreign.token_to_id("</s>")
    assert end is not None and foreign.id_to_token(end) == "</s>" and foreign.roles.end_of_text == end
    assert end in foreign.encode("ab </s> cd", special=True)
    assert foreign.decode([end], skip_special=False) == "</s>"
    plain = tokenizers.Tokenizer.from_str(foreign.definition.decode())
    for text in ("ab cd a b", "abcd b"):  # what spells no special token is as ever
        assert foreign.encode(text) == plain.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_leaves_its_kind_out_is_the_same_tokenizer(kind: str, build: SimpleNamespace):
    """GPT-2's own, for one."""
    said = train_tokenizer(kind, build.texts, 400)
    definition = said.json()
    del definition["model"]["type"]
    files = {**said.files(), "tokenizer.json": json.dumps(definition).encode()}
    guessed = Tokenizer.from_files(files)
    assert guessed.json()["model"]["type"] == said.json()["model"]["type"]
    assert guessed.encode_ids(build.texts) == said.encode_ids(build.texts)
    assert [type(fast.build(one)) for one in (guessed, said)] == [type(fast.build(said))] * 2
    starts = [WordStarts(one)._begins.tolist() for one in (guessed, said)]
    assert starts[0] == starts[1]
    assert guessed.files() == files  # and what is saved is the file as it was
