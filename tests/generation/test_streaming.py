"""What is streamed is whole characters, whatever the tokens' borders and with stop strings on, for all tokenizers."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Definition
from tokenizers import decoders, models, pre_tokenizers

from generation.completion import Writer
from generation.config import GenerationConfig
from generation.engine import Request, Token
from tests.generation.conftest import TEXTS
from tests.tokenization.conftest import bert, byte_fallback, files
from tokenization.stream import byte_of_character
from tokenization.token_text import TokenTexts
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe

CHARACTERS = "床前明月光，。🙂🙃👩‍❤️🇨🇳é𝕏 a\n"
TEXT = st.text(CHARACTERS, min_size=1, max_size=25)
STOPS = st.lists(st.text("明月🙂❤️ a", min_size=1, max_size=3), max_size=3)


def _words() -> Definition:
    """Characters with a mark in the place of blanks, as SentencePiece's models have them; all are in the vocabulary."""
    vocabulary = [("<unk>", 0.0), *((c, -3.0) for c in sorted(set(CHARACTERS + "▁") - {" "}))]
    built = Definition(models.Unigram([*vocabulary, ("▁明月", -2.0), ("🙂🙃", -2.0)], 0, False))
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    built.decoder = decoders.Metaspace(prepend_scheme="never")
    return built


def _chinese_bert() -> Definition:
    return bert(["[UNK]", "[CLS]", "[SEP]", *sorted(set(CHARACTERS) - set(" \n")), "明月", "##a"])


@pytest.fixture(scope="module")
def kinds() -> dict[str, Tokenizer]:
    """A tokenizer of each kind."""
    byte_level = Definition(models.BPE({c: n for n, c in enumerate(byte_of_character())}, []))  # every byte a token
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    built = {"bytes": byte_level, "fallback": byte_fallback(), "words": _words(), "wordpiece": _chinese_bert()}
    loaded = {name: Tokenizer.from_files(files(definition)) for name, definition in built.items()}
    return loaded | {"trained": train_byte_bpe(TEXTS, 300)}


@pytest.mark.parametrize("kind", ["bytes", "fallback", "words", "wordpiece", "trained"])
@settings(max_examples=60, deadline=None)
@given(text=TEXT, stops=STOPS, cut=st.integers(0, 80))
@example(text="🙂🙃明月", stops=["🙃明"], cut=99)
@example(text="明" * 25, stops=["明月"], cut=99)
def test_nothing_but_whole_characters_is_shown(
    kinds: dict[str, Tokenizer], kind: str, text: str, stops: list[str], cut: int
) -> None:
    tokenizer = kinds[kind]
    ids = tokenizer.encode(text)
    whole = tokenizer.decode(ids)
    assert kind == "wordpiece" or whole == text
    pieces = _stream(tokenizer, ids, stops)
    assert not any("\ufffd" in piece for piece in pieces)
    ends = [whole.find(stop) for stop in stops if stop in whole]
    assert "".join(pieces) == (whole[: _first_complete(whole, stops)] if ends else whole)
    early = _stream(tokenizer, ids[:cut], stops)  # as long as it may be, perhaps within a character
    assert whole.startswith("".join(early))
    assert not any("\ufffd" in piece for piece in early)


def _first_complete(text: str, stops: list[str]) -> int:
    """Where the stop string begins that ends first, the longest of several."""
    return min((text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text)[1]


def _stream(tokenizer: Tokenizer, ids: list[int], stops: list[str]) -> list[str]:
    writer = Writer(tokenizer, TokenTexts(tokenizer), Request([0], GenerationConfig(stop=tuple(stops))))
    pieces = []
    for place, token in enumerate(ids):
        piece = writer.push(Token(0, token, finish="length" if place + 1 == len(ids) else None))
        pieces.append(piece.text)
        if piece.finish_reason is not None:
            break
    return pieces


def test_texts_of_single_tokens(kinds: dict[str, Tokenizer]) -> None:
    """Joined they are the text: bytes where a token is a part of a character, with their blanks where it is a word."""
    for kind, tokenizer in kinds.items():
        texts = TokenTexts(tokenizer)
        text = "a 明月🙂" if kind != "fallback" else "a 明th🙂"
        told = b"".join(texts(token)[1] for token in tokenizer.encode(text)).decode()
        assert told.strip().replace(" ", "") == text.replace(" ", ""), kind
        assert " 明" in told
