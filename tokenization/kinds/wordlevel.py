"""Word-level: the most frequent words have a token, every other is [UNK] (MicroBERT's simplest tokenizer)."""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers
from tokenizers import models, pre_tokenizers

from foundation.errors import UserError
from tokenization.bert import BERT_CONFIG, BERT_SPECIAL, add_bert_template, bert_normalizer
from tokenization.kinds.base import count_words, finish
from tokenization.tokenizer import Tokenizer


def train_word_level(texts: Iterable[str], vocab_size: int, lowercase: bool = True) -> Tokenizer:
    """Train on `texts`; words are runs of letters, digits and `_`, runs of other signs, and single Chinese characters.

    The vocabulary is BERT's special tokens, then the most frequent words (equally frequent ones in the order of their
    characters). Raises `UserError` when `vocab_size` leaves room for no word.
    """
    room = vocab_size - len(BERT_SPECIAL)
    if room < 1:
        raise UserError(f"vocab_size: {vocab_size} is too small; {len(BERT_SPECIAL)} special tokens and one word")
    normalizer, splitter = bert_normalizer(lowercase), pre_tokenizers.Whitespace()
    words = count_words(texts, normalizer, splitter)
    for token in BERT_SPECIAL.values():
        words.pop(token, None)
    chosen = sorted(words, key=lambda word: (-words[word], word))[:room]
    vocabulary = {word: number for number, word in enumerate([*BERT_SPECIAL.values(), *chosen])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=BERT_SPECIAL["unk"]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(list(BERT_SPECIAL.values()))
    add_bert_template(tokenizer)
    return finish(tokenizer, {**BERT_CONFIG, "do_lower_case": lowercase})
