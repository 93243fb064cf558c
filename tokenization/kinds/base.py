"""What the kinds have in common: batches of texts, the files of a trained tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import tokenizers

from tokenization.files import CONFIG_JSON, TOKENIZER_JSON
from tokenization.tokenizer import Tokenizer

BATCH = 1000


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """`texts` in lists, which the trainers take faster than one by one."""
    iterator = iter(texts)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def finish(trained: tokenizers.Tokenizer, config: Mapping[str, Any]) -> Tokenizer:
    """A trained tokenizer with its `tokenizer_config.json`."""
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config, "clean_up_tokenization_spaces": False}
    files = {
        TOKENIZER_JSON: (trained.to_str(pretty=True) + "\n").encode(),
        CONFIG_JSON: (json.dumps(config, indent=2) + "\n").encode(),
    }
    return Tokenizer.from_files(files, "the trained tokenizer")
