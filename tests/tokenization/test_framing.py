"""The tokenizer beside an encoder frames texts in `transformers` as our encoders read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tokenization.framing import framed
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_tokenizer

TEXTS = ["the film was great, and the cat sat on the mat.", "a movie: was it good?"] * 5


@pytest.mark.parametrize("kind", ["wordpiece", "wordlevel", "bpe", "unigram"])
def test_transformers_frames_texts_and_pairs(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = train_tokenizer(kind, TEXTS, 400)
    framed(tokenizer).save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    cls, sep = tokenizer.roles.cls, tokenizer.roles.sep
    a, b = (tokenizer.encode(text) for text in ("the cat", "a great movie"))
    assert theirs("the cat")["input_ids"] == [cls, *a, sep]
    pair = theirs("the cat", "a great movie", return_token_type_ids=True)
    assert pair["input_ids"] == [cls, *a, sep, *b, sep]
    assert pair["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)


def test_our_own_ids_stay_and_what_frames_already_is_left_alone() -> None:
    bpe, word_piece = train_tokenizer("bpe", TEXTS, 300), train_tokenizer("wordpiece", TEXTS, 300)
    assert framed(bpe).encode("the cat") == bpe.encode("the cat") and framed(bpe).roles == bpe.roles
    assert framed(word_piece) is word_piece and framed(framed(bpe)).json() == framed(bpe).json()
    plain = bpe.json() | {"post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                                             "use_regex": True}}  # fmt: skip
    gpt2 = Tokenizer.from_files({**bpe.files(), "tokenizer.json": json.dumps(plain).encode()})
    assert framed(gpt2).json()["post_processor"] == framed(bpe).json()["post_processor"]
    bare = Tokenizer.from_files({"vocab.txt": b"[UNK]\na\n"})
    assert framed(bare) is bare
