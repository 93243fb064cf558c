"""Writing shards: limits, names, records."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shards.documents import RECORD
from shards.writer import SplitWriter


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_shards_hold_whole_documents_within_the_limit(tmp_path: Path, make: SimpleNamespace):
    lengths = [5, 7, 11, 2, 3, 13, 1]
    entry = make.split(tmp_path, make.documents(lengths), 17, "uint16")
    assert [(shard.documents, shard.tokens) for shard in entry.shards] == [(2, 12), (3, 16), (2, 14)]
    assert (entry.documents, entry.tokens, entry.text_bytes) == (7, 42, sum(range(7)))
    assert [shard.text_bytes for shard in entry.shards] == [0 + 1, 2 + 3 + 4, 5 + 6]


def test_a_document_longer_than_a_shard_stays_whole(tmp_path: Path, make: SimpleNamespace):
    entry = make.split(tmp_path, make.documents([2, 50, 3]), 17, "uint16")
    assert [shard.tokens for shard in entry.shards] == [2, 50, 3]


def test_names_sizes_and_checksums_are_the_content_s(tmp_path: Path, make: SimpleNamespace):
    entry = make.split(tmp_path, make.documents([5, 7, 11]), 12, "uint16")
    expected = []
    for number, shard in enumerate(entry.shards):
        hashes = ""
        for suffix in (".bin", ".idx", ".docs.npy"):
            data = (tmp_path / f"{shard.name}{suffix}").read_bytes()
            assert shard.files[suffix].bytes == len(data)
            assert shard.files[suffix].sha256 == hashlib.sha256(data).hexdigest()
            hashes += hashlib.sha256(data).hexdigest()
            expected.append(shard.name + suffix)
        assert shard.name == f"{number:05d}-{hashlib.sha256(hashes.encode()).hexdigest()[:8]}"
    assert names(tmp_path) == sorted(expected)  # and nothing temporary is left


def test_the_same_documents_give_the_same_bytes_however_they_arrive(tmp_path: Path, make: SimpleNamespace):
    documents, records = make.documents([5, 7, 11, 2]), make.records(4)
    one = SplitWriter(tmp_path / "one", np.dtype("uint16"), 100)
    one.append(np.concatenate(documents), np.array([5, 7, 11, 2], np.int32), records, np.arange(4))
    make_one, make_many = one.finish(), make.split(tmp_path / "many", documents, 100, "uint16")
    assert make_one == make_many
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()


def test_another_token_gives_another_name(tmp_path: Path, make: SimpleNamespace):
    documents = make.documents([5, 7])
    first = make.split(tmp_path / "a", documents, 100, "uint16")
    documents[1][3] += 1
    second = make.split(tmp_path / "b", documents, 100, "uint16")
    assert first.shards[0].name != second.shards[0].name


def test_records_are_plain_numpy_of_32_bytes(tmp_path: Path, make: SimpleNamespace):
    assert RECORD.itemsize == 32
    entry = make.split(tmp_path, make.documents([5, 7]), 100, "uint16")
    loaded = np.load(tmp_path / f"{entry.shards[0].name}.docs.npy", allow_pickle=False)
    assert loaded.dtype == RECORD and loaded["offset"].tolist() == [0, 101] and loaded["label"].tolist() == [-1, -1]


def test_a_split_without_documents_makes_no_files(tmp_path: Path):
    entry = SplitWriter(tmp_path / "val", np.dtype("uint16"), 10).finish()
    assert (entry.documents, entry.tokens, entry.shards) == (0, 0, []) and not (tmp_path / "val").exists()


def test_abandoning_removes_the_unfinished_shard(tmp_path: Path, make: SimpleNamespace):
    writer = SplitWriter(tmp_path, np.dtype("uint16"), 10)
    writer.append(make.documents([3])[0], np.array([3], np.int32), make.records(1), np.ones(1, int))
    writer.abandon()
    writer.abandon()
    assert names(tmp_path) == []


def test_a_disk_that_fails_while_a_shard_closes_leaves_no_temporary(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    """`abandon`, which the publisher calls for any exception, knows the file even then."""
    monkeypatch.setenv("MATECONV_FAILPOINT", "shard.before_rename:1:raise=ENOSPC")
    monkeypatch.setattr("foundation.failpoints._hits", {"shard.before_rename": 0})
    writer = SplitWriter(tmp_path, np.dtype("uint16"), 10)
    writer.append(make.documents([3])[0], np.array([3], np.int32), make.records(1), np.ones(1, int))
    with pytest.raises(OSError, match="No space left"):
        writer.finish()
    writer.abandon()
    assert names(tmp_path) == []
