"""Unigram language model (Kudo 2018) in SentencePiece's form: blanks are ▁, unknown characters their bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from foundation.errors import UserError
from tokenization.kinds.base import batches, finish, role_tokens
from tokenization.roles import TRAINED_ROLES, role_config
from tokenization.tokenizer import Tokenizer

UNKNOWN = "<unk>"
BLANK = "▁"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_SPECIAL = [UNKNOWN, *TRAINED_ROLES.values()]
SMALLEST_VOCABULARY = len(_SPECIAL) + len(BYTES) + 32
NEVER = -1000.0
"""Log-probability of <unk> and the byte pieces: no text that spells `<0x41>` may ever be cheaper as that piece than as
its characters, so those all have pieces of their own and this is far below any sum of scores."""
COVERAGE = 0.9995
"""Share of the text's characters that have pieces of their own (SentencePiece's default)."""
_TIE = 1.5e-4


def train_unigram(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train on `texts`; the result has at most `vocab_size` tokens: <unk> (which the byte pieces leave without use),
    256 bytes, pieces by falling probability, the roles (outside the model, so that text can never spell one).

    Lines are split before training, blanks begin a word. Text decodes to itself, but ▁ becomes a blank. The pieces and,
    to five places, their scores do not depend on the run. Raises `UserError` for a `vocab_size` too small.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise UserError(
            f"vocab_size: {vocab_size} is too small; {len(_SPECIAL)} special tokens, 256 bytes and the characters"
            f" of the text take more than {SMALLEST_VOCABULARY}"
        )
    texts = list(texts)
    required = set("".join([BLANK, UNKNOWN, *BYTES]))
    room = vocab_size - len(BYTES) - len(_SPECIAL)
    rare = _rare_characters(texts, room * 3 // 4, required)
    draft = tokenizers.Tokenizer(models.Unigram())
    draft.pre_tokenizer = _splitter()
    trainer = trainers.UnigramTrainer(
        vocab_size=room + 1,
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        initial_alphabet=sorted(required),
        show_progress=False,
    )
    draft.train_from_iterator(batches(text.translate(rare) for text in texts), trainer=trainer)
    pieces = json.loads(draft.to_str())["model"]["vocab"]
    # Without any text there are no probabilities; then all are the same.
    usable = [(text, -10.0 if score is None else score) for text, score in pieces if text not in _SPECIAL]
    trained = _assemble(_canonical(usable), vocab_size)
    return finish(trained, {**role_config(), "unk_token": UNKNOWN})


def _rare_characters(texts: list[str], room: int, required: set[str]) -> dict[int, str]:
    """What to put for characters that get no piece: all but the most frequent that make up COVERAGE, at most `room`."""
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    ordered = sorted(counts, key=lambda character: (-counts[character], character))
    covered, limit, kept = 0, COVERAGE * counts.total(), 0
    for character in ordered:
        if covered >= limit or kept >= room - len(required):
            break
        covered, kept = covered + counts[character], kept + 1
    return dict.fromkeys((ord(character) for character in ordered[kept:] if character not in required), "\n")


def _splitter() -> pre_tokenizers.PreTokenizer:
    """Line feeds stand alone, so that no piece spans lines (or a chat's role and content); a blank begins a word."""
    lines = pre_tokenizers.Split("\n", "isolated")
    return pre_tokenizers.Sequence([lines, pre_tokenizers.Metaspace(prepend_scheme="never")])


def _canonical(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Scores as they are in every run. The trainer sums in the order of a randomly seeded hash table, which changes the
    last digits, and gives the rarest characters scores 0.0001 apart in that order: here they are all the lowest."""
    ascending = sorted(pieces, key=lambda piece: piece[1])
    lowest = ascending[0][1]
    rare: set[str] = set()
    before = lowest
    for text, score in ascending:
        if score - before > _TIE:
            break
        before = score
        if len(text) == 1:
            rare.add(text)
    rounded = [(text, round(lowest if text in rare else score, 5)) for text, score in pieces]
    return sorted(rounded, key=lambda piece: (-piece[1], piece[0]))


def _assemble(pieces: list[tuple[str, float]], vocab_size: int) -> tokenizers.Tokenizer:
    vocabulary = [*((text, NEVER) for text in (UNKNOWN, *BYTES)), *pieces]
    size = len(vocabulary) + len(TRAINED_ROLES)
    if size > vocab_size:
        raise UserError(f"vocab_size: {vocab_size} cannot hold the text's characters; it takes at least {size}")
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = _splitter()
    blanks: Any = decoders.Replace(BLANK, " ")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), blanks])
    tokenizer.add_special_tokens([UNKNOWN, *role_tokens()])
    return tokenizer
