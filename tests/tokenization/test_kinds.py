"""The kinds of tokenizer trained here, against plain counting, `tokenizers`' own trainers and `transformers`."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers

from foundation.errors import UserError
from tokenization.bert import BERT_SPECIAL
from tokenization.tokenizer import Tokenizer
from tokenization.train import KINDS, train_tokenizer

ROOT = Path(__file__).resolve().parents[2]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["wordpiece", "wordlevel"]


def english(realdata: Path, count: int) -> list[str]:
    with gzip.open(realdata / "imdb" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in islice(file, count)]


@pytest.fixture(scope="module")
def trained(build: SimpleNamespace) -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(kind, build.texts, 400) for kind in KINDS}


SCRIPT = """
import sys
from tokenization.train import KINDS, train_tokenizer
words = [f"w{n % 37}x{n % 11} über 春{chr(0x4e00 + n % 90)}。" for n in range(900)]
texts = [" ".join(words[n : n + 9]) for n in range(0, 900, 9)]
for kind in KINDS:
    print(kind, train_tokenizer(kind, texts, 420).fingerprint)
"""


def test_training_gives_the_same_tokenizer_in_every_process():
    """The library's hash tables are seeded anew in each process; much of this corpus is tied."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for threads in ("false", "true"):
        environment["TOKENIZERS_PARALLELISM"] = threads
        runs = [
            subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
            for _ in range(2)
        ]
        assert runs[0].stdout == runs[1].stdout and len(runs[0].stdout.split()) == 2 * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_roles_and_saving(tmp_path: Path, trained: dict[str, Tokenizer], kind: str):
    tokenizer = trained[kind]
    assert tokenizer.vocab_size <= 400
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.roles == tokenizer.roles and again.fingerprint == tokenizer.fingerprint
    present = tokenizer.roles.present()
    if kind in WORDS:
        assert present == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4} and tokenizer.roles.terminator == []
        assert [tokenizer.id_to_token(number) for number in range(5)] == BERT
    else:
        names = {"end_of_text", "pad", "turn_start", "turn_end", "mask", "cls", "sep"}
        assert set(present) == (names | {"unk"} if kind == "unigram" else names)
    assert set(present.values()) <= tokenizer.special_ids
    ids = {tokenizer.id_to_token(number) for number in range(tokenizer.vocab_size)}
    assert None not in ids and len(ids) == tokenizer.vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_too_small_vocabularies_are_refused(kind: str):
    with pytest.raises(UserError, match="vocab_size: 5 is too small"):
        train_tokenizer(kind, ["some text"], 5)


def test_a_unigram_vocabulary_that_cannot_hold_all_characters():
    text = "".join(chr(0x4E00 + n) for n in range(300))
    tokenizer = train_tokenizer("unigram", [text] * 3, 420)
    assert tokenizer.vocab_size <= 420
    assert tokenizer.decode(tokenizer.encode(text)) == text  # the others as bytes
    frequent = train_tokenizer("unigram", [text, "常" * 50], 420)
    assert len(frequent.encode("常")) == 1


@pytest.mark.parametrize("texts", [["abc abc"], [], [""], ["床前明月光" * 3, "abc def " * 9]])
def test_the_smallest_unigram_vocabulary_still_encodes_everything(texts: list[str]):
    tokenizer = train_tokenizer("unigram", texts, 296)
    assert tokenizer.vocab_size <= 296
    for text in ("床a b  \n", "", "😀"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(deadline=None)
@given(text=st.text() | st.text(st.sampled_from("ab <0x41>\n▂明😀\u0000")))
def test_text_decodes_to_itself(trained: dict[str, Tokenizer], kind: str, text: str):
    tokenizer = trained[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids, skip_special=False) == (text.replace("▁", " ") if kind == "unigram" else text)
    assert not set(ids) & tokenizer.special_ids


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_a_special_token(trained: dict[str, Tokenizer], kind: str):
    tokenizer = trained[kind]
    unk = {tokenizer.roles.unk} if kind in WORDS else set()
    for token in [*BERT, "<unk>", *filter(None, (tokenizer.id_to_token(i) for i in tokenizer.special_ids))]:
        for text in (token, f"a {token}", f"x{token}{token}y"):
            assert not set(tokenizer.encode(text)) & tokenizer.special_ids - unk


def test_unigram_never_reads_a_byte_piece_from_text(trained: dict[str, Tokenizer]):
    tokenizer = trained["unigram"]
    for text in ("<0x41>", "a<0xE6>b", "<unk>"):
        tokens = [tokenizer.id_to_token(number) for number in tokenizer.encode(text)]
        assert "".join(map(str, tokens)) == text and not any(str(t).startswith("<0x") for t in tokens)
    assert [tokenizer.id_to_token(n) for n in tokenizer.encode("ж")] == ["<0xD0>", "<0xB6>"]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("kind", WORDS)
def test_lowercase_and_chinese(build: SimpleNamespace, kind: str, lowercase: bool):
    tokenizer = train_tokenizer(kind, build.texts, 400, lowercase)
    assert tokenizer.config["do_lower_case"] is lowercase
    assert (tokenizer.encode("THE Café") == tokenizer.encode("the cafe")) is lowercase
    names = [tokenizer.id_to_token(number) for number in tokenizer.encode("明月光")]
    assert names == ["明", "月", "光"]
    assert tokenizer.encode("明月光") == tokenizer.encode("明 月 光")


def test_word_level_is_counting(build: SimpleNamespace):
    """Without Chinese and accents, words are what the regular expression finds."""
    text = " ".join(build.texts[:1] + build.texts[2:3]).lower()
    counts = Counter(re.findall(r"\w+|[^\w\s]+", text))
    expected = sorted(counts, key=lambda word: (-counts[word], word))[:20]
    tokenizer = train_tokenizer("wordlevel", [text], 25)
    assert [tokenizer.id_to_token(number) for number in range(25)] == [*BERT, *expected]
    known = {word: number for number, word in enumerate(expected, 5)}
    assert tokenizer.encode(text) == [known.get(word, 1) for word in re.findall(r"\w+|[^\w\s]+", text)]
    assert 1 in tokenizer.encode(text)


@pytest.mark.realdata
def test_word_piece_is_the_library_s_but_for_ties(realdata: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tokenization.kinds.wordpiece.COVERAGE", 1.0)
    texts = english(realdata, 400)
    ours = train_tokenizer("wordpiece", texts, 2000)
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    library.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=2000, special_tokens=BERT, show_progress=False)
    )
    theirs = set(library.get_vocab())
    mine = {ours.id_to_token(number) or "" for number in range(ours.vocab_size)}
    assert len(mine) == len(theirs) == 2000 and len(mine & theirs) > 1980
    assert sum(len(token) for token in mine) == pytest.approx(sum(len(token) for token in theirs), rel=0.01)


def test_rare_characters_are_unknown_and_no_merge_is_lost_to_them():
    texts = ["the cat sat on the mat " * 200, "ж"]
    tokenizer = train_tokenizer("wordpiece", texts, 60)
    assert tokenizer.encode("ж") == [tokenizer.roles.unk] and tokenizer.token_to_id("the") is not None
    assert tokenizer.encode("cat" * 40) == [tokenizer.roles.unk]  # longer than BERT reads
    assert tokenizer.decode(tokenizer.encode("the cat")) == "the cat"


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_them_and_encodes_the_same(tmp_path: Path, trained: dict[str, Tokenizer], kind: str):
    transformers = pytest.importorskip("transformers")
    tokenizer = trained[kind]
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for text in ("The quick brown fox!", "床前明月光，\n疑是", " a  b\n\nnaïve — café ", "日本 x1y22"):
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
    assert theirs.pad_token_id == tokenizer.roles.pad and theirs.mask_token_id == tokenizer.roles.mask
    if kind in WORDS:
        pair = theirs("the", "fox")["input_ids"]
        sep = tokenizer.roles.sep
        assert pair == [tokenizer.roles.cls, *tokenizer.encode("the"), sep, *tokenizer.encode("fox"), sep]


def test_bert_s_names_are_the_known_ones():
    assert list(BERT_SPECIAL.values()) == BERT
