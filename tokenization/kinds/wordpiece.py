"""WordPiece (Schuster and Nakajima 2012) with BERT's normaliser: trained by merges, used by longest match.

The library's own WordPiece trainer numbers its continuation symbols in the order of a randomly seeded hash table, so
that every run gives another vocabulary. Here each character inside a word is written as a private-use character of its
own, plain BPE is trained on that, which is deterministic, and the result is written back with `##`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from foundation.errors import UserError
from tokenization.bert import BERT_CONFIG, BERT_SPECIAL, LONGEST_WORD, PREFIX, bert_normalizer, build_word_piece
from tokenization.kinds.base import batches, count_words, finish
from tokenization.tokenizer import Tokenizer

COVERAGE = 0.9995
"""Share of the text's characters that get a token of their own (SentencePiece's default); the rest are rare enough to
be [UNK]."""
_INSIDE = 0xF0000
_REPEATS = 1000


def train_word_piece(texts: Iterable[str], vocab_size: int, lowercase: bool = True) -> Tokenizer:
    """Train on `texts`; the result has at most `vocab_size` tokens: BERT's special tokens, characters, merges.

    Raises `UserError` when `vocab_size` leaves room for no character.
    """
    if vocab_size <= len(BERT_SPECIAL):
        raise UserError(f"vocab_size: {vocab_size} is too small; the {len(BERT_SPECIAL)} special tokens fill it")
    words = count_words(texts, bert_normalizer(lowercase), pre_tokenizers.BertPreTokenizer())
    marked, alphabet = _mark(words, vocab_size - len(BERT_SPECIAL))
    tokens = _train_bpe(marked, alphabet, vocab_size)
    vocabulary = {_unmark(token, alphabet): number for token, number in sorted(tokens.items(), key=lambda t: t[1])}
    return finish(build_word_piece(vocabulary, lowercase), {**BERT_CONFIG, "do_lower_case": lowercase})


def _mark(words: Counter[str], room: int) -> tuple[list[tuple[str, int]], dict[str, str]]:
    """The words, in order, with their inner characters as private ones; and the alphabet: symbol to character, at most
    `room` symbols. Words with characters outside the alphabet are left out."""
    usable = sorted(word for word in words if len(word) <= LONGEST_WORD and max(word) < chr(_INSIDE))
    numbers = {character: chr(_INSIDE + n) for n, character in enumerate(sorted(set("".join(usable))))}
    inner = str.maketrans(numbers)
    symbols: Counter[str] = Counter()
    marked = [(word[0] + word[1:].translate(inner), words[word]) for word in usable]
    for word, count in marked:
        for symbol in word:
            symbols[symbol] += count
    alphabet: dict[str, str] = {}
    outside = symbols.total()
    limit = (1 - COVERAGE) * outside
    characters = {symbol: character for character, symbol in numbers.items()}
    for symbol, count in sorted(symbols.items(), key=lambda item: (-item[1], item[0])):
        if outside <= limit or len(alphabet) == room:
            break
        alphabet[symbol] = characters.get(symbol, symbol)
        outside -= count
    return [(word, count) for word, count in marked if all(symbol in alphabet for symbol in word)], alphabet


def _train_bpe(words: list[tuple[str, int]], alphabet: dict[str, str], vocab_size: int) -> dict[str, int]:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(BERT_SPECIAL.values()),
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(batches(_repeated(words)), trainer=trainer)
    return tokenizer.get_vocab()


def _repeated(words: list[tuple[str, int]]) -> Iterator[str]:
    """Texts that hold each word as often as it was counted."""
    for word, count in words:
        while count > 0:
            yield " ".join([word] * min(count, _REPEATS))
            count -= _REPEATS


def _unmark(token: str, alphabet: dict[str, str]) -> str:
    if token in BERT_SPECIAL.values():
        return token
    text = "".join(alphabet[symbol] for symbol in token)
    return PREFIX + text if ord(token[0]) >= _INSIDE else text
