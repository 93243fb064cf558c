"""What the kinds have in common: batches of texts, words and how often they occur, the files of a trained tokenizer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import tokenizers
from tokenizers import normalizers, pre_tokenizers

from tokenization.files import CONFIG_JSON, TOKENIZER_JSON
from tokenization.roles import TRAINED_ROLES
from tokenization.tokenizer import Tokenizer

BATCH = 1000


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """`texts` in lists, which the trainers take faster than one by one."""
    iterator = iter(texts)
    while batch := list(islice(iterator, BATCH)):
        yield batch


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


def role_tokens() -> list[str | tokenizers.AddedToken]:
    """TRAINED_ROLES' tokens in id order. In a text to fill, the mask takes the blank before it: so does each word."""
    taking = tokenizers.AddedToken(TRAINED_ROLES["mask"], lstrip=True, normalized=False, special=True)
    return [taking if role == "mask" else token for role, token in TRAINED_ROLES.items()]


def finish(trained: tokenizers.Tokenizer, config: Mapping[str, Any]) -> Tokenizer:
    """A trained tokenizer with its `tokenizer_config.json`."""
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config, "clean_up_tokenization_spaces": False}
    files = {
        TOKENIZER_JSON: (trained.to_str(pretty=True) + "\n").encode(),
        CONFIG_JSON: (json.dumps(config, indent=2) + "\n").encode(),
    }
    return Tokenizer.from_files(files, "the trained tokenizer")
