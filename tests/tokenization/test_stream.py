"""Streaming never shows half a character, and shows everything."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenization.stream import StreamDecoder
from tokenization.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"
TEXT = st.text(st.characters(exclude_characters=REPLACEMENT, exclude_categories=["Cs"])) | st.text(
    st.sampled_from("a b明月😀é\n，"), max_size=60
)


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    decoder = StreamDecoder(tokenizer)
    return [*(decoder.push(token) for token in ids), decoder.finish()]


@given(TEXT)
def test_the_pieces_are_the_text(bpe: Tokenizer, text: str):
    pieces = stream(bpe, bpe.encode(text))
    assert "".join(pieces) == text and not any(REPLACEMENT in piece for piece in pieces)


@given(TEXT)
def test_the_pieces_are_the_text_when_every_byte_is_a_token(bpe: Tokenizer, text: str):
    """Other borders than the tokenizer's own: each byte by its single-byte token, ids 7 to 262."""
    ids: list[int | None] = [bpe.encode(chr(byte))[0] if byte < 128 else None for byte in range(256)]
    for character in (chr(code) for code in range(0x80, 0x800)):  # two bytes each: together they have every byte < E0
        for byte, single in zip(character.encode(), bpe.encode(character), strict=False):
            if len(bpe.encode(character)) == 2:
                ids[byte] = single
    data = text.encode()
    if any(ids[byte] is None for byte in data):
        return
    pieces = stream(bpe, [token for byte in data if (token := ids[byte]) is not None])
    assert "".join(pieces) == text and not any(REPLACEMENT in piece for piece in pieces)
    position = 0
    for character, size in ((c, len(c.encode())) for c in text):
        assert pieces[position + size - 1] == character  # shown with its last byte, not later
        position += size


@given(TEXT, st.integers(0, 200))
def test_a_tail_that_never_ended_is_dropped(bpe: Tokenizer, text: str, cut: int):
    ids = bpe.encode(text)[:cut]
    shown = "".join(stream(bpe, ids))
    assert text.startswith(shown) and REPLACEMENT not in shown
    assert bpe.decode(ids).rstrip(REPLACEMENT) == shown


@given(st.lists(st.integers(7, 319), max_size=40))
def test_any_tokens_at_all_agree_with_decoding(bpe: Tokenizer, ids: list[int]):
    """A model may emit bytes that are no UTF-8: they show as in `decode`, but for an unfinished end."""
    shown = "".join(stream(bpe, ids))
    assert bpe.decode(ids) in (shown, shown + REPLACEMENT)


def test_special_and_padded_ids_show_nothing(bpe: Tokenizer):
    ids = bpe.encode("龘é")
    assert len(ids) >= 4
    between = [x for token in ids for x in (token, 0, 6, 319 + 40)]
    assert "".join(stream(bpe, between)) == "龘é"


def test_after_finish_a_decoder_starts_anew(bpe: Tokenizer):
    decoder = StreamDecoder(bpe)
    first, *_ = bpe.encode("月") if len(bpe.encode("月")) > 1 else bpe.encode("😀")
    assert decoder.push(first) == "" and decoder.finish() == ""
    assert "".join(decoder.push(token) for token in bpe.encode("ok")) == "ok"


# decoders that join tokens by rules: the window

WORDS = st.lists(st.sampled_from(["the", "running", "playing", "a", "x9", "don't", "明", "end."]), max_size=90)


@given(WORDS)
@example(["running"] * 90)
def test_wordpiece(wordpiece: Tokenizer, words: list[str]):
    ids = wordpiece.encode(" ".join(words))
    pieces = stream(wordpiece, ids)
    assert "".join(pieces) == wordpiece.decode(ids)
    if words:
        assert pieces[0] != ""  # shown at once


@pytest.fixture(scope="module")
def fallback(build: SimpleNamespace) -> Tokenizer:
    return Tokenizer.from_files(build.files(build.byte_fallback()))


@given(st.text(st.sampled_from("ab th明月😀é，"), max_size=150))
@example("明" * 150)
@example("明😀" * 40 + " a")
@example("b" * 63 + "明月光，疑是地上霜" * 9)
def test_byte_fallback(fallback: Tokenizer, text: str):
    """Llama 2's kind: characters outside the vocabulary are byte tokens; the window must never start within one."""
    ids = fallback.encode(text)
    assert fallback.decode(ids) == text
    pieces = stream(fallback, ids)
    assert "".join(pieces) == text and not any(REPLACEMENT in piece for piece in pieces)


@given(st.text(st.sampled_from("ab 明😀"), max_size=90), st.integers(0, 300))
def test_byte_fallback_drops_an_unfinished_tail(fallback: Tokenizer, text: str, cut: int):
    shown = "".join(stream(fallback, fallback.encode(text)[:cut]))
    assert text.startswith(shown) and REPLACEMENT not in shown


@given(st.lists(st.sampled_from(["the", "running", "a", "明", "end."]), min_size=1, max_size=12), st.integers(0, 30))
def test_what_follows_a_prompt_begins_as_it_does_there(fallback: Tokenizer, words: list[str], cut: int):
    """A tokenizer that writes blanks as part of words drops the first one of a text, but not in its middle."""
    ids = fallback.encode(" ".join(words))
    before = fallback.decode(ids[:cut])
    if REPLACEMENT in before:
        return
    decoder = StreamDecoder(fallback, ids[:cut])
    shown = "".join([*(decoder.push(token) for token in ids[cut:]), decoder.finish()])
    assert before + shown == fallback.decode(ids)
