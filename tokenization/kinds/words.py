"""BERT's words: the normaliser and the special tokens that WordPiece and word-level tokenizers share (Devlin et al.
2019; google-research/bert, tokenization.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import normalizers, pre_tokenizers, processors

BERT_SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
"""BERT's special tokens by role, in id order from 0."""
BERT_CONFIG = {f"{role}_token": token for role, token in BERT_SPECIAL.items()}


def bert_normalizer(lowercase: bool, strip_accents: bool | None = None, chinese: bool = True) -> normalizers.Normalizer:
    """BERT's: control characters removed, blanks unified, Chinese characters set apart; with `lowercase` also capitals
    lowered and accents dropped (accents alone by `strip_accents`)."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=strip_accents, lowercase=lowercase
    )


def add_bert_template(tokenizer: tokenizers.Tokenizer) -> None:
    """`[CLS] text [SEP]`, `[CLS] text [SEP] other [SEP]` for whoever asks for special tokens (we never do)."""
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    if all(number is not None for _, number in ids):
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ids
        )


def count_words(
    texts: Iterable[str], normalizer: normalizers.Normalizer, splitter: pre_tokenizers.PreTokenizer
) -> Counter[str]:
    """How often each word occurs. `splitter` must split at blanks, so that every run between blanks is split once."""
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(normalizer.normalize_str(text).split())
    words: Counter[str] = Counter()
    for chunk, count in chunks.items():
        for word, _ in splitter.pre_tokenize_str(chunk):
            words[word] += count
    return words
