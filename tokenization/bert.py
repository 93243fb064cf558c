"""BERT's tokenizer, made from its vocabulary: its normaliser, its special tokens, its WordPiece (Devlin et al. 2019;
google-research/bert, tokenization.py)."""

from __future__ import annotations

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

BERT_SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
"""BERT's special tokens by role, in id order from 0."""
BERT_CONFIG = {f"{role}_token": token for role, token in BERT_SPECIAL.items()}
PREFIX = "##"
LONGEST_WORD = 100
"""BERT turns longer words into [UNK]."""


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


def build_word_piece(
    vocabulary: dict[str, int], lowercase: bool, strip_accents: bool | None = None, chinese: bool = True
) -> tokenizers.Tokenizer:
    """A tokenizer as BERT's: `vocabulary` by token, its own special tokens marked."""
    model = models.WordPiece(
        vocabulary,
        unk_token=BERT_SPECIAL["unk"],
        max_input_chars_per_word=LONGEST_WORD,
        continuing_subword_prefix=PREFIX,
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = bert_normalizer(lowercase, strip_accents, chinese)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(PREFIX)
    tokenizer.add_special_tokens([token for token in BERT_SPECIAL.values() if token in vocabulary])
    add_bert_template(tokenizer)
    return tokenizer
