"""Texts with a mask token, beside what `transformers` makes of them; and which tokens a cut text keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from tokenization.masked_text import MaskedText
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_tokenizer
from tokenization.truncation import kept_spans

TEXTS = ["the film was great, and the cat sat on the mat.", "a movie: was it good? The cat thought so!"] * 5
PROMPTS = [
    "the film was {}.",
    "{} cat sat",
    "the {} was {} , and",
    "un{}ed {}",
    "the  cat {} {} mat.",
    "good{}",
]


@pytest.fixture(scope="module", params=["wordpiece", "wordlevel", "bpe", "unigram"])
def kind(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(request.param, TEXTS, 400)


def test_masks_are_found_as_transformers_finds_them(kind: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    kind.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    masked = MaskedText(kind)
    assert (masked.name, masked.token) == (theirs.mask_token, theirs.mask_token_id)
    for prompt in PROMPTS:
        text = prompt.replace("{}", masked.name)
        assert masked.encode(text) == theirs(text, add_special_tokens=False)["input_ids"], text
        assert masked.encode(prompt.replace("{}", "[MASK]")) == masked.encode(text)


def test_a_mask_stands_where_a_word_stood(kind: Tokenizer) -> None:
    words = ["the", "film", "was", "great,", "and", "the", "cat", "sat", "on", "the", "mat."]
    masked = MaskedText(kind)
    for place in range(1, len(words) - 1):
        before, word, after = " ".join(words[:place]), f" {words[place]}", " " + " ".join(words[place + 1 :])
        parts = [kind.encode(part) for part in (before, word, after)]
        assert kind.encode(" ".join(words)) == [*parts[0], *parts[1], *parts[2]]
        assert masked.encode(f"{before} [MASK]{after}") == [*parts[0], masked.token, *parts[2]]


def test_other_special_tokens_stay_text(kind: Tokenizer) -> None:
    masked = MaskedText(kind)
    for role, token in kind.roles.present().items():
        if role not in ("mask", "unk"):  # what a text cannot express is unknown
            name = kind.id_to_token(token)
            assert token not in masked.encode(f"the {name} [MASK]")
            assert masked.token in masked.encode(f"the {name} [MASK]")


def test_a_tokenizer_that_forgot_about_blanks_and_flags_gets_them(kind: Tokenizer) -> None:
    definition = kind.json()
    for token in definition["added_tokens"]:
        token["lstrip"] = False
    plain = Tokenizer.from_files({**kind.files(), "tokenizer.json": json.dumps(definition).encode()})
    for prompt in PROMPTS:
        text = prompt.replace("{}", "[MASK]")
        assert MaskedText(plain).encode(text) == MaskedText(kind).encode(text)


def test_no_mask_token_is_named() -> None:
    plain = Tokenizer.from_files({"vocab.txt": b"[UNK]\na\nb\n"}, "place")
    with pytest.raises(UserError, match="place: filling masks needs a token for the role 'mask'"):
        MaskedText(plain)


@pytest.mark.parametrize(
    ("length", "room", "how", "spans"),
    [
        (7, 7, "tail", [(0, 7)]),
        (9, 7, "head", [(0, 7)]),
        (9, 7, "tail", [(2, 9)]),
        (600, 510, "head_tail", [(0, 128), (218, 600)]),  # the paper's 128 and 382
        (9, 1, "head_tail", [(8, 9)]),
    ],
)
def test_what_a_cut_text_keeps(length: int, room: int, how: str, spans: list[tuple[int, int]]) -> None:
    assert kept_spans(length, room, how) == spans  # type: ignore[arg-type]


@given(st.integers(0, 2000), st.integers(1, 600), st.sampled_from(["head", "tail", "head_tail"]))
def test_a_cut_text_fills_the_room_in_order(length: int, room: int, how: str) -> None:
    spans = kept_spans(length, room, how)  # type: ignore[arg-type]
    places = [place for start, stop in spans for place in range(start, stop)]
    assert len(places) == min(length, room) and places == sorted(set(places))
    assert all(0 <= place < length for place in places)
