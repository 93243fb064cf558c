"""Training a byte-level BPE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tokenizers

from foundation.errors import UserError
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|mask|>", "<|cls|>", "<|sep|>"]

SCRIPT = """
import hashlib, sys
from tokenization.train import train_byte_bpe
words = ["alpha", "beta", "gamma", "明月", "光", "naïve", "x1", "  ", "\\n", "don't"]
texts = [" ".join(words[(i * j) % 10] for j in range(1, 30)) for i in range(200)]
files = train_byte_bpe(texts, 400).files()
for name in sorted(files):
    print(name, hashlib.sha256(files[name]).hexdigest())
"""


def test_two_processes_give_the_same_bytes(repo_root: Path):
    results = []
    for number, threads in (("1", "1"), ("2", "2"), ("77", "1")):
        environment = {**os.environ, "PYTHONHASHSEED": number, "RAYON_NUM_THREADS": threads}
        environment["TOKENIZERS_PARALLELISM"] = "true" if threads == "2" else "false"
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], cwd=repo_root, env=environment, capture_output=True, text=True, check=True
        )
        results.append(done.stdout)
    assert results[0].count("\n") == 2 and len(set(results)) == 1


def test_the_vocabulary_roles_first_then_bytes_then_merges(bpe: Tokenizer):
    assert [bpe.token_to_id(token) for token in SPECIAL] == list(range(7))
    assert bpe.vocab_size == 320
    document = json.loads(bpe.files()["tokenizer.json"])
    assert len(document["model"]["merges"]) == 320 - 256 - 7
    assert all(len(bpe.encode(text)) >= 1 for text in ("a", "\x00", "é", "𠀀"))
    assert all(len(bpe.id_to_token(number) or "") == 1 for number in range(7, 263))


@pytest.mark.parametrize("size", [0, 1, 7, 262])
def test_a_vocabulary_that_cannot_hold_the_bytes(size: int):
    with pytest.raises(UserError, match=f"vocab_size: {size} is too small.*263"):
        train_byte_bpe(["text"], size)


@pytest.mark.parametrize("texts", [["abc abc abc"], [], [""]])
def test_the_smallest_vocabulary_still_encodes_everything(texts: list[str]):
    tokenizer = train_byte_bpe(texts, 263)
    assert tokenizer.vocab_size == 263
    assert len(tokenizer.encode("aé明😀")) == 1 + 2 + 3 + 4
    assert tokenizer.decode(tokenizer.encode("aé明😀")) == "aé明😀"


def test_texts_are_read_once_and_in_batches(build: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    whole = train_byte_bpe(build.texts, 300)
    monkeypatch.setattr("tokenization.kinds.base.BATCH", 5)
    assert train_byte_bpe(iter(build.texts), 300).files() == whole.files()


def test_the_pre_tokenizer_is_qwen2_s(bpe: Tokenizer):
    """Pieces as `transformers`' Qwen2 tokenizer documents them: one digit each, contractions, newlines with what
    precedes them, one blank with the word."""
    pieces = tokenizers.Tokenizer.from_str(bpe.files()["tokenizer.json"].decode()).pre_tokenizer.pre_tokenize_str
    shown = [piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, _ in pieces("Don't pay 123  now!!\n\nx")]
    assert shown == ["Don", "'t", " pay", " ", "1", "2", "3", " ", " now", "!!\n\n", "x"]


def test_special_tokens_in_the_training_text_are_text():
    tokenizer = train_byte_bpe(["<|endoftext|> and <|im_start|>user"] * 50, 300)
    for text in SPECIAL:
        assert not set(tokenizer.encode(text)) & set(range(7))


def test_roles_are_found_again_after_saving(tmp_path: Path, bpe: Tokenizer):
    bpe.save(tmp_path / "t")
    again = Tokenizer.load(tmp_path / "t")
    assert again.roles == bpe.roles and again.fingerprint == bpe.fingerprint and again.files() == bpe.files()
    assert bpe.roles.present() == {
        "end_of_text": 0, "pad": 1, "turn_start": 2, "turn_end": 3, "mask": 4, "cls": 5, "sep": 6,
    }  # fmt: skip
    assert bpe.roles.unk is None


def test_transformers_loads_it_and_agrees(tmp_path: Path, bpe: Tokenizer, build: SimpleNamespace):
    transformers = pytest.importorskip("transformers")
    bpe.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for text in build.texts[:4]:
        assert theirs(text)["input_ids"] == bpe.encode(text)
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.mask_token_id) == (0, 1, 4)
