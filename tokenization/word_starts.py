"""At which tokens words begin, read off the vocabulary: for masking whole words.

WordPiece says it itself (`##`). Elsewhere a word begins with a blank, and where letters, digits and signs meet; every
Chinese character, kana and hangul block is a word of its own, as in BERT.
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from tokenization.stream import byte_of_character
from tokenization.tokenizer import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BLANK = "▁"
_ALONE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")


class Kind(IntEnum):
    """What a token begins or ends with. Two neighbours of the same kind belong to one word, if it is a text's."""

    START = 0  # begins a word whatever stands before
    INSIDE = 1  # never begins one
    ALONE = 2  # begins one, but for a blank that stands before it
    LETTERS = 3
    DIGITS = 4
    SIGNS = 5
    BLANKS = 6
    LONE_BLANK = 7  # belongs to the word behind it


class WordStarts:
    """Tells which tokens begin a word, by two tables over the vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        definition = tokenizer.json()
        model = definition["model"]
        continuing = (model.get("continuing_subword_prefix") or None) if model["type"] in ("WordPiece", "BPE") else None
        ending = (model.get("end_of_word_suffix") or None) if model["type"] == "BPE" else None
        byte_level = (definition.get("decoder") or {}).get("type") == "ByteLevel"
        self._begins = np.full(tokenizer.vocab_size, Kind.START, np.uint8)
        self._ends = np.full(tokenizer.vocab_size, Kind.START, np.uint8)
        if model["type"] == "WordLevel":
            return
        for token in range(tokenizer.vocab_size):
            name = tokenizer.id_to_token(token)
            if name is None or token in tokenizer.special_ids:
                continue
            if continuing is not None:
                self._begins[token] = Kind.INSIDE if name.startswith(continuing) else Kind.START
            elif ending is not None:
                self._begins[token] = Kind.LETTERS
                self._ends[token] = Kind.BLANKS if name.endswith(ending) else Kind.LETTERS
            else:
                self._begins[token], self._ends[token] = _edges(_surface(name, byte_level))

    def starts(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each of `tokens` (B, T) begins a word, given the one before it; the first of a row does."""
        begins = self._begins[tokens]
        found: npt.NDArray[np.bool_] = begins == Kind.START
        found[:, 0] = True
        before = self._ends[tokens[:, :-1]]
        continues = (begins[:, 1:] == before) | (begins[:, 1:] == Kind.INSIDE) | (before == Kind.LONE_BLANK)
        found[:, 1:] |= ~continues
        return found


def _surface(name: str, byte_level: bool) -> bytes:
    """The bytes of text that the token `name` stands for."""
    if byte_level:
        table = byte_of_character()
        if all(character in table for character in name):
            return bytes(table[character] for character in name)
    elif match := _BYTE.fullmatch(name):
        return bytes([int(match[1], 16)])
    return name.replace(_BLANK, " ").encode()


def _edges(surface: bytes) -> tuple[Kind, Kind]:
    """What a token begins and ends with."""
    if not surface:
        return Kind.INSIDE, Kind.LETTERS
    if surface == b" ":
        return Kind.START, Kind.LONE_BLANK
    begins, ends = _begin(surface), _end(surface)
    if begins == Kind.BLANKS and ends != Kind.BLANKS:
        return Kind.START, ends  # a blank and the word behind it
    return Kind.ALONE if begins == Kind.SIGNS and ends == Kind.LETTERS else begins, ends  # a sign and the word it opens


def _begin(surface: bytes) -> Kind:
    lead = surface[0]
    if 0x80 <= lead < 0xC0:
        return Kind.INSIDE  # inside a character
    size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    try:
        character = surface[:size].decode()
    except UnicodeDecodeError:  # half a character; those of three bytes and more are mostly of scripts without blanks
        return Kind.ALONE if size > 2 else Kind.LETTERS
    return Kind.ALONE if _ALONE.match(character) else _kind(character)


def _end(surface: bytes) -> Kind:
    text = surface.decode(errors="ignore")
    if not text:
        return Kind.LETTERS
    kind = _kind(text[-1])
    if _ALONE.match(text[-1]):
        return Kind.START  # like no beginning: whatever follows is another word
    return Kind.LETTERS if kind == Kind.INSIDE else kind


def _kind(character: str) -> Kind:
    if character.isspace():
        return Kind.BLANKS
    category = unicodedata.category(character)
    if category.startswith("M"):
        return Kind.INSIDE
    return Kind.LETTERS if category.startswith("L") else Kind.DIGITS if category.startswith("N") else Kind.SIGNS
