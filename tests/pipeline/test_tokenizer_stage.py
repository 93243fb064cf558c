"""The tokenizer stage: what a tokenizer is trained on, where it comes from, how huge documents are treated."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from pipeline import tokenizer_stage
from pipeline.config import PipelineConfig
from pipeline.mapping.encode import AuditMismatch, Encoder
from pipeline.process import process
from shards.manifest import Manifest
from tokenization.engines import audit
from tokenization.engines.reference import ReferenceEngine
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe, train_tokenizer


@given(st.text(st.sampled_from("ab \n好")), st.integers(1, 9))
def test_long_texts_are_cut_at_blanks_and_nothing_is_lost(text: str, size: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_stage, "PIECE_CHARS", size)
        pieces = list(tokenizer_stage._short_pieces(text))
    assert "".join(pieces) == text and all(len(piece) <= 2 * size for piece in pieces)
    start = 0
    for piece, following in pairwise(pieces):
        assert len(piece) >= size
        if not following.startswith(" "):
            assert len(piece) == size and " " not in text[start + size : start + 2 * size]
        start += len(piece)


class Wrong(ReferenceEngine):
    """Every text has one token too many."""

    name = "wrong"

    def encode_batch(self, texts, terminator=None):
        return super().encode_batch([text + b"x" for text in texts], terminator)


def test_documents_too_large_for_the_reference_are_not_audited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "LONGEST_AUDITED", 5)
    monkeypatch.setattr("pipeline.mapping.encode.fast_engine", lambda tokenizer, factory: Wrong(tokenizer))
    encoder = Encoder(train_byte_bpe(["text"], 300), "planted")
    hashes = np.zeros(1, "V16")  # selected
    assert len(encoder.encode([b"too long"], hashes)[0]) > 1
    with pytest.raises(AuditMismatch, match="short"):
        encoder.encode([b"short"], hashes)


@pytest.mark.parametrize("layout", ["directory", "file", "vocab.txt"])
def test_a_given_tokenizer_is_taken_as_it_is(tmp_path: Path, layout: str):
    given = tmp_path / "given"
    if layout == "vocab.txt":
        given.mkdir()
        letters = "abcdefghijklmnopqrstuvwxyz."
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
        (given / "vocab.txt").write_text("\n".join(tokens))
    else:
        train_tokenizer("unigram", ["some text that is not the input"], 320).save(given)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"A text of {n} words."}) + "\n" for n in range(9)))
    place = given if layout == "directory" else given / ("tokenizer.json" if layout == "file" else layout)
    config = PipelineConfig(
        input=[str(tmp_path / "in.jsonl")], output=tmp_path / "d" / "x", tokenizer=str(place), workers=1
    )
    process(config)
    expected = Tokenizer.load(place)
    assert Manifest.load(config.output).tokenizer_fingerprint == expected.fingerprint
    assert Tokenizer.load(config.output / "tokenizer").files() == expected.files()
    assert "tokenizer_kind" not in Manifest.load(config.output).settings


def test_roles_that_change_are_refused_not_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """tokenizer_config.json says what ends a text; the tokenizer is known by tokenizer.json."""
    given = tmp_path / "given"
    definition = train_byte_bpe(["some text"], 300).json()
    definition["added_tokens"] = [{**token, "content": "<EOT>"} for token in definition["added_tokens"][:1]]
    definition["model"]["vocab"] = {
        "<EOT>" if number == definition["added_tokens"][0]["id"] else word: number
        for word, number in definition["model"]["vocab"].items()
    }
    given.mkdir()
    (given / "tokenizer.json").write_text(json.dumps(definition))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"A text of {n} words."}) + "\n" for n in range(9)))
    config = PipelineConfig(
        input=[str(tmp_path / "in.jsonl")], output=tmp_path / "d" / "x", tokenizer=str(given), workers=1
    )
    monkeypatch.setenv("MATECONV_FAILPOINT", "publish.before_manifest:1:raise=ENOSPC")
    with pytest.raises((OSError, UserError)):
        process(config)
    monkeypatch.delenv("MATECONV_FAILPOINT")
    config_file = given / "tokenizer_config.json"
    config_file.write_text('{"eos_token": "<EOT>"}')
    with pytest.raises(UserError, match=r"end_of_text none, now 0.*--overwrite starts anew"):
        process(config, resume=True)
    config_file.unlink()
    process(config, resume=True)
    assert Manifest.load(config.output).terminator == []
    config_file.write_text('{"eos_token": "<EOT>"}')
    with pytest.raises(UserError, match=r"end_of_text none, now 0.*--overwrite makes it anew"):
        process(config, resume=True)
    process(config, overwrite=True)
    assert Manifest.load(config.output).terminator == [0]
