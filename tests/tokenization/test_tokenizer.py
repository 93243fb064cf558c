"""Loading tokenizers; text is text and comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from tokenization.engines import fast
from tokenization.engines.reference import ReferenceEngine
from tokenization.tokenizer import Tokenizer

LITERALS = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|mask|>", "<|cls|>", "<|sep|>"]
PIECES = st.sampled_from([*LITERALS, "a", " ", "\n", "明", "😀", "<|", "|>", "'s"])
TEXT = st.text() | st.lists(PIECES, max_size=20).map("".join)


@given(TEXT)
def test_decoding_gives_the_text_back(bpe: Tokenizer, text: str):
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert bpe.decode(np.array(ids, np.uint16)) == text


@given(st.lists(TEXT, max_size=5))
def test_special_tokens_spelt_in_text_are_text_for_both_engines(bpe: Tokenizer, texts: list[str]):
    data = [text.encode() for text in [*texts, *LITERALS]]
    built = fast.build(bpe)
    assert built is not None
    for engine in (ReferenceEngine(bpe), built):
        ids, _ = engine.encode_batch(data)
        assert not set(ids.tolist()) & set(bpe.roles.present().values())


def test_templates_may_ask_for_special_tokens(bpe: Tokenizer):
    assert bpe.encode("<|im_start|>a<|im_end|>", special=True) == [2, *bpe.encode("a"), 3]
    assert len(bpe.encode("<|im_start|>a<|im_end|>")) > 3  # and the plain way is not changed by it


def test_decoding_skips_special_tokens_or_shows_them(bpe: Tokenizer):
    ids = [2, *bpe.encode("a"), 0]
    assert bpe.decode(ids) == "a" and bpe.decode(ids, skip_special=False) == "<|im_start|>a<|endoftext|>"
    assert bpe.special_ids == frozenset(range(7))


def test_batches_equal_single_texts(bpe: Tokenizer, build: SimpleNamespace):
    texts = [*build.texts, "", "<|endoftext|>"]
    batch = bpe.encode_batch(texts)
    assert [ids.tolist() for ids in batch] == [bpe.encode(text) for text in texts]
    assert all(ids.dtype == np.uint32 for ids in batch)


def test_nothing_is_added_cut_or_padded_by_what_the_file_says(bpe: Tokenizer, build: SimpleNamespace):
    value = bpe.json()
    value["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    value["padding"] = {
        "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<|pad|>",
    }  # fmt: skip
    value["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|cls|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<|cls|>": {"id": "<|cls|>", "ids": [5], "tokens": ["<|cls|>"]}},
    }
    odd = Tokenizer.from_files(build.files(json.dumps(value)))
    for text in build.texts[:4]:
        assert odd.encode(text) == bpe.encode(text) == odd.encode_batch([text, "a"])[0].tolist()
        assert odd.encode(text, special=True) == bpe.encode(text)


# roles


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: {"content": text, "special": True}])
def test_roles_from_the_configuration_in_both_forms(bpe: Tokenizer, build: SimpleNamespace, wrap: Any):
    config = {"eos_token": wrap("<|im_end|>"), "pad_token": wrap("<|endoftext|>"), "cls_token": wrap("not there")}
    roles = Tokenizer.from_files(build.files(json.dumps(bpe.json()), config)).roles
    assert (roles.end_of_text, roles.pad) == (3, 0)
    assert (roles.cls, roles.mask) == (5, 4)  # by their names, for the configuration has none


@pytest.mark.parametrize("config", [None, {}, [], {"eos_token": None, "pad_token": 5}])
def test_roles_without_configuration(bpe: Tokenizer, build: SimpleNamespace, config: Any):
    assert Tokenizer.from_files(build.files(json.dumps(bpe.json()), config)).roles == bpe.roles


def test_roles_of_a_bert_tokenizer(wordpiece: Tokenizer):
    assert wordpiece.roles.present() == {"pad": 0, "mask": 4, "cls": 2, "sep": 3, "unk": 1}
    assert wordpiece.roles.require("mask", "masked training", "here") == 4
    with pytest.raises(UserError, match=r"data/x: text generation needs .*'end_of_text'.*eos_token.*</s>"):
        wordpiece.roles.require("end_of_text", "text generation", "data/x")


def test_special_names_of_bert_in_text_are_text(wordpiece: Tokenizer):
    ids = wordpiece.encode("the [MASK] [CLS] running")
    assert not set(ids) & {2, 3, 4} and wordpiece.token_to_id("the") in ids


@pytest.mark.realdata
def test_bert_s_own_vocabulary(realdata: Path, build: SimpleNamespace):
    words = (realdata / "bert-base-uncased/vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    tokenizer = Tokenizer.from_files(build.files(build.bert(words)))
    assert tokenizer.vocab_size == 30522
    assert tokenizer.roles.present() == {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103}
    assert tokenizer.encode("Hello, world! [MASK]")[:4] == [7592, 1010, 2088, 999]  # as the BERT papers' code has it
    assert 103 not in tokenizer.encode("Hello, world! [MASK]")


def test_a_role_s_token_that_is_not_marked_special_is_still_never_read_from_text(
    bpe: Tokenizer, build: SimpleNamespace
):
    value = bpe.json()
    for token in value["added_tokens"]:
        token["special"] = token["content"] not in ("<|endoftext|>", "<|im_start|>")
    tokenizer = Tokenizer.from_files(build.files(json.dumps(value), {"eos_token": "<|endoftext|>"}))
    assert tokenizer.roles.end_of_text == 0
    assert not set(tokenizer.encode("a<|endoftext|>b<|im_start|>")) & {0, 2}
    assert tokenizer.decode([0, *tokenizer.encode("a"), 2]) == "a"


def test_added_words_that_have_no_role_stay_tokens(bpe: Tokenizer, build: SimpleNamespace):
    value = bpe.json()
    word = {**value["added_tokens"][0], "id": 320, "content": "supercalifragilistic", "special": False}
    value["added_tokens"].append(word)
    tokenizer = Tokenizer.from_files(build.files(json.dumps(value)))
    assert tokenizer.vocab_size == 321 and tokenizer.encode("supercalifragilistic") == [320]
    assert tokenizer.decode([320]) == "supercalifragilistic"


# files


def test_loading_by_directory_or_file(tmp_path: Path, bpe: Tokenizer):
    bpe.save(tmp_path)
    (tmp_path / "other.txt").write_text("not carried")
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        assert Tokenizer.load(path).files() == bpe.files()


def test_missing_tokenizers(tmp_path: Path):
    (tmp_path / "other.txt").write_text("a")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "other.txt"):
        with pytest.raises(UserError, match=r"tokenizer\.json") as caught:
            Tokenizer.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match=r"out/ckpt\.pth: tokenizer\.json is missing .found: a."):
        Tokenizer.from_files({"a": b""}, "out/ckpt.pth")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"model": {"type": "None"}}', b"null"])
def test_damaged_tokenizers(tmp_path: Path, data: bytes):
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(UserError, match="not a readable tokenizer") as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(caught.value)


@pytest.mark.parametrize("data", [b"{", b"\xff"])
def test_a_damaged_configuration(tmp_path: Path, bpe: Tokenizer, data: bytes):
    bpe.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_bytes(data)
    with pytest.raises(UserError, match=r"tokenizer_config\.json: not valid JSON"):
        Tokenizer.load(tmp_path)


def test_the_fingerprint_is_the_content_s(bpe: Tokenizer, build: SimpleNamespace):
    value = bpe.json()
    for text in (json.dumps(value), json.dumps(value, indent=7), json.dumps(value, ensure_ascii=False, sort_keys=True)):
        assert Tokenizer.from_files(build.files(text, {"x": 1})).fingerprint == bpe.fingerprint
    value["model"]["merges"] = value["model"]["merges"][:-1]
    assert Tokenizer.from_files(build.files(json.dumps(value))).fingerprint != bpe.fingerprint


def test_the_chat_template_from_its_file_or_the_configuration(bpe: Tokenizer, build: SimpleNamespace):
    text = json.dumps(bpe.json())
    assert bpe.chat_template is None
    inside = build.files(text, {"chat_template": "A {{ messages }}"})
    assert Tokenizer.from_files(inside).chat_template == "A {{ messages }}"
    assert Tokenizer.from_files({**inside, "chat_template.jinja": "诗".encode()}).chat_template == "诗"


@pytest.mark.parametrize(
    ("several", "taken"),
    [
        ([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}], "D"),
        ([{"name": "tool_use", "template": "T"}], None),
        ([{"name": "default", "template": 5}, "default", {"name": ["default"]}, {}], None),
        ([], None),
    ],
)
def test_of_several_chat_templates_default_is_taken(
    bpe: Tokenizer, build: SimpleNamespace, several: list[Any], taken: str | None
):
    inside = build.files(bpe.files()["tokenizer.json"].decode(), {"chat_template": several})
    assert Tokenizer.from_files(inside).chat_template == taken


@pytest.mark.parametrize("frame", ["$A", "<|cls|> $A", "<|cls|> <|sep|> $A <|endoftext|>"])
def test_a_text_opens_as_transformers_opens_it(bpe: Tokenizer, tmp_path: Path, frame: str):
    transformers = pytest.importorskip("transformers")
    engine = tokenizers.Tokenizer.from_str(json.dumps(bpe.json()))
    special = [(name, bpe.token_to_id(name)) for name in ("<|cls|>", "<|sep|>", "<|endoftext|>")]
    engine.post_processor = tokenizers.processors.TemplateProcessing(single=frame, special_tokens=special)
    framed = Tokenizer.from_files({**bpe.files(), "tokenizer.json": engine.to_str().encode()})
    framed.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))("the cat").input_ids
    assert framed.opening == theirs[: frame.split().index("$A")]
    assert theirs[len(framed.opening) :][: len(bpe.encode("the cat"))] == bpe.encode("the cat")
