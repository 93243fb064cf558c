"""The fast engine equals the reference, and the audit finds one that does not."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.engines import audit, fast
from tokenization.engines import bpe as bpe_engine
from tokenization.engines.base import Borders, Engine, Ids, terminated
from tokenization.engines.reference import ReferenceEngine
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe


class Planted:
    """The reference, but for one wrong token in the document that contains `trigger`."""

    name = "planted"

    def __init__(self, tokenizer: Tokenizer, trigger: bytes) -> None:
        self._reference = ReferenceEngine(tokenizer)
        self._trigger = trigger

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        ids, borders = self._reference.encode_batch(texts)
        for place, text in enumerate(texts):
            if self._trigger in text:
                ids[borders[place]] += 1
        return terminated(ids, borders, terminator)


def test_the_reference_engine_is_the_tokenizer(bpe: Tokenizer, build: SimpleNamespace):
    texts = [*build.texts, "", "<|endoftext|>"]
    ids, borders = ReferenceEngine(bpe).encode_batch([text.encode() for text in texts])
    assert [ids.dtype.name, borders.dtype.name] == ["uint32", "int64"]
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(borders)] == [bpe.encode(t) for t in texts]
    ids, borders = ReferenceEngine(bpe).encode_batch([])
    assert (ids.tolist(), borders.tolist()) == ([], [0])


@pytest.fixture(scope="module")
def engine(bpe: Tokenizer) -> Engine:
    built = fast.build(bpe)
    assert built is not None and built.name == "gigatoken"
    return built


def assert_equal(tokenizer: Tokenizer, engine: Engine, texts: list[bytes]) -> None:
    for terminator in (None, 0, 7):
        ours: tuple[np.ndarray, ...] = engine.encode_batch(texts, terminator)
        theirs: tuple[np.ndarray, ...] = ReferenceEngine(tokenizer).encode_batch(texts, terminator)
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other)


PIECES = st.lists(st.sampled_from([*bpe_engine.SEPARATOR, "a", " b", "\n"]), max_size=6).map("".join)


@given(st.lists(st.text() | PIECES, max_size=6))
@settings(max_examples=300)
def test_the_fast_engine_equals_the_reference(bpe: Tokenizer, engine: Engine, texts: list[str]):
    assert_equal(bpe, engine, [text.encode() for text in texts])


def test_the_fast_engine_on_the_probes_and_at_the_edges(bpe: Tokenizer, engine: Engine):
    for texts in ([], [b""], [b"", b"", b"a", b""], audit.probes(), [b"x" * 100_000], [b"\n" * 1000 + b" " * 1000]):
        assert_equal(bpe, engine, texts)


def test_a_terminator_follows_every_text(bpe: Tokenizer):
    ids, borders = ReferenceEngine(bpe).encode_batch([b"a b", b"", b"c"], terminator=5)
    assert ids.tolist() == [*bpe.encode("a b"), 5, 5, *bpe.encode("c"), 5]
    assert borders.tolist() == [0, len(bpe.encode("a b")) + 1, len(bpe.encode("a b")) + 2, len(ids)]


def test_a_cache_that_grew_too_much_is_dropped(bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bpe_engine, "_CACHE_CHECK", 1)
    sizes = iter([100, 150, 1000, 120, 130])
    monkeypatch.setattr(bpe_engine, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(bpe_engine, "CACHE_BYTES", 500)
    built = fast.build(bpe)  # at 100 bytes
    assert isinstance(built, bpe_engine.GigatokenEngine)
    first = built._tokenizer
    assert_equal_once = bpe.encode("the quick")
    for expected_same in (True, False, False):  # at 150, at 1000 (then built anew at 120), at 130
        assert built.encode_batch([b"the quick"])[0].tolist() == assert_equal_once
        assert (built._tokenizer is first) is expected_same


def test_its_results_outlive_the_next_call(bpe: Tokenizer, engine: Engine):
    first = engine.encode_batch([b"the quick brown fox"])[0]
    kept = first.copy()
    for number in range(50):
        engine.encode_batch([f"other {number} text".encode() * 20])
    np.testing.assert_array_equal(first, kept)


def texts_of(path: Path, count: int, step: int) -> list[str]:
    """Every `step`-th text of a JSONL file, `count` of them."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in itertools.islice(file, 0, count * step, step)]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["imdb/train.jsonl.gz", "zh_poetry/poems.jsonl.gz"])
def test_the_fast_engine_on_real_text(realdata: Path, name: str):
    texts = texts_of(realdata / name, 400, 7)
    tokenizer = train_byte_bpe(texts[:200], 1500)
    built = fast.build(tokenizer)
    assert built is not None and len(texts) == 400
    assert_equal(tokenizer, built, [text.encode() for text in texts])
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts


def test_tokenizers_it_does_not_support_get_none(wordpiece: Tokenizer, build: SimpleNamespace, bpe: Tokenizer):
    value = wordpiece.json()
    value["normalizer"] = {"type": "NFC"}
    assert fast.build(Tokenizer.from_files(build.files(json.dumps(value)))) is None
    assert fast.build(Tokenizer.from_files(build.files(build.byte_fallback()))) is None
    value = bpe.json()
    value["normalizer"] = {"type": "NFC"}
    assert fast.build(Tokenizer.from_files(build.files(json.dumps(value)))) is None


# the audit


def test_the_probes_are_valid_utf8_varied_and_always_the_same():
    probes = audit.probes()
    assert probes == audit.probes() and len(probes) > 256
    texts = [probe.decode() for probe in probes]
    assert "" in texts and any("<|endoftext|>" in text for text in texts) and any("\u0000" in text for text in texts)
    assert len({character for text in texts for character in text}) > 1000


def test_the_probes_pass_a_right_engine_and_stop_a_wrong_one(bpe: Tokenizer, engine: Engine):
    assert audit.probe_mismatch(bpe, engine) is None
    assert audit.probe_mismatch(bpe, ReferenceEngine(bpe)) is None
    wrong = audit.probe_mismatch(bpe, Planted(bpe, "한국어".encode()))
    assert wrong is not None and "한국어" in wrong.decode()


def test_an_engine_that_reads_special_tokens_from_text_is_stopped(bpe: Tokenizer):
    class Special(Planted):
        def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
            assert terminator is None
            encoded = [bpe.encode(text.decode(), special=True) for text in texts]
            borders = np.cumsum([0, *(len(ids) for ids in encoded)], dtype=np.int64)
            return np.array([token for ids in encoded for token in ids], np.uint32), borders

    wrong = audit.probe_mismatch(bpe, Special(bpe, b""))
    assert wrong is not None and b"<|endoftext|>" in wrong


def test_the_first_mismatch_is_named(bpe: Tokenizer, build: SimpleNamespace):
    texts = [text.encode() for text in build.texts]
    encoded = bpe.encode_batch(build.texts)
    assert audit.first_mismatch(bpe, texts, encoded) is None
    assert audit.first_mismatch(bpe, [], []) is None
    for change in (lambda ids: ids[:-1], lambda ids: np.append(ids, ids[-1]), lambda ids: np.roll(ids, 1)):
        damaged = list(encoded)
        damaged[2], damaged[3] = change(damaged[2]), change(damaged[3])
        assert audit.first_mismatch(bpe, texts, damaged) == texts[2]
    assert audit.first_mismatch(bpe, texts, encoded[:5]) == texts[5]


def test_selection_depends_on_content_alone():
    random = np.random.default_rng(7)
    raw = random.integers(0, 256, (100_000, 16), np.uint8)
    hashes = raw.view("V16").ravel()
    chosen = audit.selected(hashes)
    expected = [i for i, row in enumerate(raw) if int.from_bytes(row[:4].tobytes(), "little") % 1024 == 0]
    assert chosen.tolist() == expected and 60 < len(expected) < 140
    order = random.permutation(len(hashes))
    assert {hashes[i].tobytes() for i in chosen} == {hashes[order][i].tobytes() for i in audit.selected(hashes[order])}
    halves = [*audit.selected(hashes[:40_000]), *(audit.selected(hashes[40_000:]) + 40_000)]
    assert halves == chosen.tolist()
    assert audit.selected(hashes[:0]).tolist() == []


def test_selection_from_a_column_of_records():
    records = np.zeros(1200, [("a", "u1"), ("hash", "V16")])
    records["hash"] = [number.to_bytes(16, "little") for number in range(1200)]
    assert audit.selected(records["hash"]).tolist() == [0, 1024]
