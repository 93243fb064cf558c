"""The tokenizer stage: what a tokenizer is trained on, where it comes from, how huge documents are treated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from pipeline import tokenizer_stage
from pipeline.cleaning.cleaner import Cleaner
from pipeline.config import PipelineConfig
from pipeline.mapping.encode import AuditMismatch, Encoder
from pipeline.plan import make_plan
from pipeline.process import process
from pipeline.sources.find import find_inputs
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


def cleaned_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of text of each later call of the cleaner."""
    clean, sizes = Cleaner.clean, []

    def counting(self: Cleaner, texts: list[bytes], owners: Sequence[int] | None = None) -> list[bytes]:
        sizes.append(sum(map(len, texts)))
        return clean(self, texts, owners)

    monkeypatch.setattr(Cleaner, "clean", counting)
    return sizes


def write_texts(path: Path, texts: Iterable[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


@pytest.mark.parametrize("wanted", [1, 300, 5_000, 10**9])
def test_a_sample_is_the_start_of_every_task_and_little_else_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int
) -> None:
    """Two documents of three are too short."""
    texts = [f"{n} " + "x" * (n % 3 * 40) for n in range(3000)]
    source = write_texts(tmp_path / "in.jsonl", texts)
    config = PipelineConfig(
        input=[source], output=tmp_path / "x", block_bytes=30_011, tokenizer_sample_bytes=wanted, min_chars=60
    )
    tasks = make_plan(find_inputs(config), config)
    assert len(tasks) > 5
    monkeypatch.setattr(tokenizer_stage, "LEAST_CLEANED", 500)
    sizes = cleaned_bytes(monkeypatch)
    told: list[int] = []
    sample = list(tokenizer_stage._sample(config, tasks, told.append))
    assert told == [task.bytes for task in tasks]
    starts = np.cumsum([0, *(len(json.dumps({"text": text})) + 1 for text in texts)])
    expected = []
    for task in tasks:
        budget = max(1, wanted * task.bytes // sum(task.bytes for task in tasks))
        for start, text in zip(starts.tolist(), texts, strict=False):
            if task.start <= start < task.end and len(text) >= 60 and budget > 0:
                expected.append(text)
                budget -= len(text)
    assert sample == expected
    assert sum(sizes) < 5 * sum(map(len, sample)) + len(tasks) * 700


@pytest.mark.parametrize(("wanted", "opened"), [(5000, 10), (20_000, 12)])
def test_of_many_tasks_an_even_share_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, opened: int
) -> None:
    """Large and tiny files by turns, 10 kB and 100 bytes; the large ones have five blocks."""
    for n in range(40):
        write_texts(tmp_path / f"{n:02}.jsonl", [f"{n:02} " + "x" * 86] if n % 2 else [f"{n:02} " + "y" * 86] * 100)
    config = PipelineConfig(
        input=[str(tmp_path)], output=tmp_path / "x", block_bytes=2100, tokenizer_sample_bytes=wanted
    )
    tasks = make_plan(find_inputs(config), config)
    assert len(tasks) == 120
    monkeypatch.setattr(tokenizer_stage, "PLACES", 10)
    told: list[int] = []
    sample = list(tokenizer_stage._sample(config, tasks, told.append))
    assert len(told) == opened
    assert abs(sum(map(len, sample)) - wanted) < wanted / 10
    total = sum(task.bytes for task in tasks)
    assert total - len(told) <= sum(told) <= total
    files = [int(text[:2]) for text in sample]
    assert files == sorted(files) and max(np.diff([0, *files, 40])) <= 5


def test_of_many_tiny_files_as_many_are_opened_as_fill_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(200):
        write_texts(tmp_path / f"{n:03}.jsonl", [f"{n:03} " + "x" * 85])
    config = PipelineConfig(input=[str(tmp_path)], output=tmp_path / "x", tokenizer_sample_bytes=5000)
    monkeypatch.setattr(tokenizer_stage, "PLACES", 10)
    sample = list(tokenizer_stage._sample(config, make_plan(find_inputs(config), config), lambda _: None))
    assert 4000 <= sum(map(len, sample)) <= 5500


def fails_on_river(text: str) -> str:
    if "river" in text:
        raise ValueError("no rivers")
    return text


def test_a_filter_that_fails_on_a_sampled_document_names_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_stage, "LEAST_CLEANED", 30)
    texts = ["A text of some length.", "Another of some length.", "Over the river and far away.", "A text again."]
    source = write_texts(tmp_path / "in.jsonl", texts)
    config = PipelineConfig(
        input=[source], output=tmp_path / "x", tokenizer_sample_bytes=60, custom_filter=f"{__name__}:fails_on_river"
    )
    offset = sum(len(json.dumps({"text": text})) + 1 for text in texts[:2])
    with pytest.raises(UserError, match=f"in.jsonl: the record at {offset}: .*no rivers"):
        list(tokenizer_stage._sample(config, make_plan(find_inputs(config), config), lambda _: None))


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
