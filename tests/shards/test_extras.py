"""The optional tables of a shard: spans and sentences, read back by plain struct and list code."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.documents import SENTENCE, SPAN, check_rows, encode_array
from shards.manifest import Manifest
from shards.writer import SplitWriter

LENGTHS = [5, 7, 4, 2, 3, 13, 1]
SPANS = [(0, 1, 3), (0, 3, 5), (2, 0, 0), (5, 2, 13)]
SENTENCES = [(1, 2), (1, 6), (5, 4), (5, 4), (5, 12)]


def write(path: Path, make: SimpleNamespace, group: int = 100, shard_tokens: int = 17) -> Path:
    """The `small` dataset of the other tests, with both tables, appended in runs of `group` documents."""
    make.dataset(path, LENGTHS, shard_tokens=shard_tokens)
    documents, records = make.documents(LENGTHS), make.records(len(LENGTHS))
    writer = SplitWriter(path / "train", np.dtype("uint16"), shard_tokens, ("spans", "sentences"))
    for first in range(0, len(LENGTHS), group):
        last = min(first + group, len(LENGTHS))
        tables = {
            "spans": np.array([(d - first, s, e) for d, s, e in SPANS if first <= d < last], SPAN),
            "sentences": np.array([(d - first, e) for d, e in SENTENCES if first <= d < last], SENTENCE),
        }
        lengths = np.array(LENGTHS[first:last], np.int32)
        run = np.concatenate(documents[first:last])
        writer.append(run, lengths, records[first:last], np.arange(first, last), tables)
    old = Manifest.load(path)
    old.model_copy(update={"splits": {**old.splits, "train": writer.finish()}}).save(path)
    return path


def plain_rows(data: bytes, fields: int) -> list[tuple[int, ...]]:
    """The rows of an .npy file of little-endian uint32 fields, read as NumPy's format description says."""
    assert data[:8] == b"\x93NUMPY\x01\x00"
    (size,) = struct.unpack_from("<H", data, 8)
    return list(struct.iter_unpack(f"<{fields}I", data[10 + size :]))


@pytest.mark.parametrize("group", [1, 2, 3, 100])
def test_the_files_hold_rows_by_the_document_s_number_in_its_shard(tmp_path: Path, make: SimpleNamespace, group: int):
    path = write(tmp_path / "set", make, group)
    shards = Manifest.load(path).splits["train"].shards
    assert [shard.documents for shard in shards] == [3, 2, 2]  # 16, 5, 14 tokens
    found: dict[str, list[Any]] = {".spans.npy": [], ".sents.npy": []}
    for shard in shards:
        assert list(shard.files) == [".bin", ".idx", ".docs.npy", ".spans.npy", ".sents.npy"]
        hashes = ""
        for suffix, entry in shard.files.items():
            data = (path / "train" / (shard.name + suffix)).read_bytes()
            assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            hashes += entry.sha256
            if suffix in found:
                found[suffix].append(plain_rows(data, 3 if suffix == ".spans.npy" else 2))
        assert shard.name.endswith(hashlib.sha256(hashes.encode()).hexdigest()[:8])
    assert found[".spans.npy"] == [[(0, 1, 3), (0, 3, 5), (2, 0, 0)], [], [(0, 2, 13)]]
    assert found[".sents.npy"] == [[(1, 2), (1, 6)], [], [(0, 4), (0, 4), (0, 12)]]


def test_golden_bytes():
    """A change here is a change of the format."""
    header = b"{'descr': [('document', '<u4'), ('end', '<u4')], 'fortran_order': False, 'shape': (2,), }"
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    expected = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack("<4I", 0, 3, 7, 70000)
    assert encode_array(np.array([(0, 3), (7, 70000)], SENTENCE)) == expected
    assert SPAN.descr == [("document", "<u4"), ("start", "<u4"), ("end", "<u4")]


def test_readers_get_them_by_document(tmp_path: Path, make: SimpleNamespace):
    data = Dataset.open(write(tmp_path / "set", make))
    spans = [data.spans(number) for number in range(len(LENGTHS))]
    assert [s.tolist() for s in spans if s is not None] == [
        [[1, 3], [3, 5]], [[0, 7]], [], [[0, 2]], [[0, 3]], [[2, 13]], [[0, 1]],
    ]  # fmt: skip
    ends = [data.sentences(number) for number in range(len(LENGTHS))]
    assert [e.tolist() for e in ends if e is not None] == [[4], [2, 6], [3], [1], [2], [4, 4, 12], [0]]
    with pytest.raises(IndexError):
        data.spans(len(LENGTHS))


def test_datasets_without_them_open_as_before(small: tuple[Path, list[np.ndarray]]):
    data = Dataset.open(small[0])
    assert data.spans(0) is None and data.sentences(0) is None
    manifest = json.loads((small[0] / "manifest.json").read_bytes())
    assert set(manifest["inputs"][0]) == {"name", "bytes", "fingerprint"}  # and its identity is what it was


def test_inputs_say_how_they_were_read(small: tuple[Path, list[np.ndarray]]):
    manifest = Manifest.load(small[0])
    entry = manifest.inputs[0].model_copy(update={"pieces": "row groups", "options": {"labels": ["neg", "pos"]}})
    changed = manifest.model_copy(update={"inputs": [entry]})
    changed.save(small[0])
    assert Manifest.load(small[0]) == changed and changed.identity != manifest.identity
    assert json.loads((small[0] / "manifest.json").read_bytes())["inputs"][0]["options"] == {"labels": ["neg", "pos"]}


@pytest.mark.parametrize("suffix", [".spans.npy", ".sents.npy"])
@pytest.mark.parametrize("damage", ["missing", "longer", "foreign"])
def test_damage_is_named(tmp_path: Path, make: SimpleNamespace, suffix: str, damage: str):
    path = write(tmp_path / "set", make)
    file = sorted((path / "train").glob(f"*{suffix}"))[0]
    size = file.stat().st_size
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + b"\0" if damage == "longer" else b"\x55" * size)
    with pytest.raises(UserError) as caught:
        Dataset.open(path)
    assert str(file) in str(caught.value)


def test_tables_that_fit_pass_the_check():
    lengths = np.array(LENGTHS)
    assert check_rows("spans", np.array(SPANS, SPAN), lengths, 1) is None
    assert check_rows("sentences", np.array(SENTENCES, SENTENCE), lengths, 1) is None
    for name, dtype in (("spans", SPAN), ("sentences", SENTENCE)):
        assert check_rows(name, np.zeros(0, dtype), lengths, 1) is None


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("spans", [(7, 0, 1)]), ("spans", [(0, 0, 6)]), ("spans", [(0, 3, 2)]), ("spans", [(0, 1, 3), (0, 2, 5)]),
        ("spans", [(1, 0, 1), (0, 0, 1)]), ("sentences", [(7, 1)]), ("sentences", [(0, 3)]), ("sentences", [(0, 5)]),
        ("sentences", [(0, 3), (0, 2), (0, 4)]), ("sentences", [(1, 6), (0, 4)]),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_fail_the_check(name: str, rows: list[tuple[int, ...]]):
    assert check_rows(name, np.array(rows, SPAN if name == "spans" else SENTENCE), np.array(LENGTHS), 1)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 15), st.integers(1, 5), st.randoms())
@settings(deadline=None, max_examples=40)
def test_shards_do_not_depend_on_the_runs(tmp_path_factory, make: SimpleNamespace, lengths, limit, group, random):
    documents, records = make.documents(lengths), make.records(len(lengths))
    rows = [(d, *sorted((random.randint(0, n), random.randint(0, n)))) for d, n in enumerate(lengths) if n > 2]
    entries = []
    for size in (group, len(lengths)):
        writer = SplitWriter(tmp_path_factory.mktemp("runs"), np.dtype("uint16"), limit, ("spans",))
        for a in range(0, len(lengths), size):
            b = min(a + size, len(lengths))
            spans = np.array([(d - a, s, e) for d, s, e in rows if a <= d < b], SPAN)
            part = np.array(lengths[a:b], np.int32)
            writer.append(np.concatenate(documents[a:b]), part, records[a:b], part, {"spans": spans})
        entries.append(writer.finish())
    assert entries[0] == entries[1]
    sizes, total = [], 0  # the plain rule: a document goes into the open shard if it fits or the shard is empty
    for length in lengths:
        if total and total + length > limit:
            sizes.append(total)
            total = 0
        total += length
    assert [shard.tokens for shard in entries[0].shards] == [*sizes, total]
