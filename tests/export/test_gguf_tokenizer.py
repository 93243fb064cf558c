"""Tokenizers in GGUF files: which ones llama.cpp can imitate, by what names, and that all others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from tests.export.conftest import value
from tests.generation.conftest import TEXTS
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe, train_tokenizer


def test_ids_that_no_text_has_are_unused(written: Any) -> None:
    small = train_byte_bpe(TEXTS, 280)
    _, reader = written(None, small)
    assert small.vocab_size == 280
    names, kinds = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    assert names[279:282] == [small.id_to_token(279), "[PAD280]", "[PAD281]"]
    assert kinds[279:] == [1] + [5] * 51 and len(set(names)) == 331


def changed(tokenizer: Tokenizer, **changes: Any) -> Tokenizer:
    """The tokenizer with other parts in its tokenizer.json; those of `model` are merged."""
    definition = tokenizer.json()
    definition |= {**changes, "model": definition["model"] | changes.get("model", {})}
    return Tokenizer.from_files(tokenizer.files() | {"tokenizer.json": json.dumps(definition).encode()})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}},
            "BPE after Metaspace",
        ),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}}, "ByteLevel"),
        ({"pre_tokenizer": None}, "is BPE"),
        ({"model": {"ignore_merges": True}}, "ignore_merges"),
        ({"model": {"byte_fallback": True}}, "byte_fallback"),
        ({"normalizer": {"type": "Lowercase"}}, "a normalizer"),
    ],
)
def test_tokenizers_that_llama_cpp_cannot_imitate_are_named(
    written: Any, tokenizer: Tokenizer, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        written(None, changed(tokenizer, **changes))
    assert not list(tmp_path.glob("*.gguf"))


@pytest.mark.parametrize(("kind", "size", "says"), [
    ("unigram", 520, "Unigram after Split and Metaspace"),
    ("wordpiece", 100, "WordPiece after BertPreTokenizer"),
    ("wordlevel", 60, "WordLevel after Whitespace"),
])  # fmt: skip
def test_our_other_kinds_of_tokenizers_are_named(written: Any, kind: str, size: int, says: str) -> None:
    with pytest.raises(UserError, match=f"its tokenizer is {says}.*byte-level BPE"):
        written(None, train_tokenizer(kind, TEXTS, size))


def test_the_splitters_of_gpt2_and_llama3_have_their_names(written: Any, tokenizer: Tokenizer) -> None:
    plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    _, reader = written(None, changed(tokenizer, pre_tokenizer=plain, normalizer={"type": "NFC"}))
    assert value(reader, "tokenizer.ggml.pre") == "gpt-2"
    steps = tokenizer.json()["pre_tokenizer"]
    steps["pretokenizers"][0]["pattern"]["Regex"] = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
    )
    bos = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    opening = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [2], "tokens": ["<|im_start|>"]}},
    }
    own = changed(tokenizer, pre_tokenizer=steps, post_processor=opening, model={"ignore_merges": True})
    with pytest.raises(UserError, match=r"begin with <\|im_start\|>"):
        written(None, own)
    config = json.dumps(own.config | {"bos_token": {"content": "<|im_start|>"}}).encode()
    _, reader = written(None, Tokenizer.from_files(own.files() | {"tokenizer_config.json": config}))
    assert [value(reader, f"tokenizer.ggml.{key}") for key in ("pre", "bos_token_id", "add_bos_token")] == [
        "llama-bpe", 2, True,
    ]  # fmt: skip
