"""Tokenizers for these tests: trained in a moment, or assembled by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe

TEXTS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox runs away!",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "def f(x):\n    return x + 1\n\n\nprint(f(41))  # 42\n",
    "don't they'll we've it's I'm 1234 56.78 naïve café — “quoted” 😀😃",
] * 3


def files(definition: tokenizers.Tokenizer | str, config: Any = None) -> dict[str, bytes]:
    text = definition if isinstance(definition, str) else definition.to_str()
    result = {"tokenizer.json": text.encode()}
    if config is not None:
        result["tokenizer_config.json"] = config if isinstance(config, bytes) else json.dumps(config).encode()
    return result


def bert(vocabulary: list[str]) -> tokenizers.Tokenizer:
    """A WordPiece tokenizer as BERT's `tokenizer.json` has it."""
    built = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece(prefix="##")
    special = [word for word in vocabulary if word.startswith("[") and word.endswith("]") and len(word) > 2]
    built.add_special_tokens(special)
    return built


def byte_fallback() -> tokenizers.Tokenizer:
    """A tokenizer of Llama 2's kind: words with a leading mark, unknown characters as their bytes."""
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary += ["▁", *"abcdefghijklmnopqrstuvwxyz", "▁a", "▁th", "▁b", "th"]
    ids = {word: number for number, word in enumerate(vocabulary)}
    merges = [("▁", "a"), ("t", "h"), ("▁", "th"), ("▁", "b")]
    built = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    built.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    built.add_special_tokens(["<unk>", "<s>", "</s>"])
    return built


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    """A byte-level BPE with few merges: most characters outside ASCII are split over several tokens."""
    return train_byte_bpe(TEXTS, 320)


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """The helpers above: `build.files`, `build.bert`, `build.byte_fallback`, `build.texts`."""
    return SimpleNamespace(files=files, bert=bert, byte_fallback=byte_fallback, texts=TEXTS)


@pytest.fixture(scope="session")
def wordpiece() -> Tokenizer:
    """A BERT-like tokenizer that knows every letter, and continuations."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    return Tokenizer.from_files(files(bert([*words, "the", "run", "##ing", "play", "明", "月"])))
