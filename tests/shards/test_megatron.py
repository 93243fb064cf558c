"""The Megatron format, byte by byte, against its description."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from foundation.errors import UserError
from shards import megatron
from shards.dataset import Dataset

# Two documents, of 3 and 2 uint16 tokens
GOLDEN = (
    b"MMIDIDX\x00\x00"
    + b"\x01\x00\x00\x00\x00\x00\x00\x00"  # version
    + b"\x08"  # uint16
    + b"\x02\x00\x00\x00\x00\x00\x00\x00"  # sequences
    + b"\x03\x00\x00\x00\x00\x00\x00\x00"  # entries of the document index
    + b"\x03\x00\x00\x00\x02\x00\x00\x00"  # lengths in tokens
    + b"\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"  # positions in bytes
    + b"\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"
)


def index_bytes(code: int, lengths: list[int], size: int, documents: list[int]) -> bytes:
    """An index written from the format's description."""
    pointers = [sum(lengths[:i]) * size for i in range(len(lengths))]
    return struct.pack(
        f"<9sQBQQ{len(lengths)}i{len(lengths)}q{len(documents)}q",
        b"MMIDIDX\0\0", 1, code, len(lengths), len(documents), *lengths, *pointers, *documents,
    )  # fmt: skip


def write_pair(path: Path, code: int, dtype: str, lengths: list[int], documents: list[int]) -> np.ndarray:
    tokens = np.arange(sum(lengths)).astype(dtype) + 5
    path.with_suffix(".bin").write_bytes(tokens.tobytes())
    path.with_suffix(".idx").write_bytes(index_bytes(code, lengths, tokens.itemsize, documents))
    return tokens


def test_golden_index():
    assert megatron.encode_index(np.array([3, 2], np.int32), np.dtype("<u2")) == GOLDEN
    assert index_bytes(8, [3, 2], 2, [0, 1, 2]) == GOLDEN  # the writer of these tests agrees


def test_golden_shard(tmp_path: Path, make: SimpleNamespace):
    documents = [np.array([258, 3, 65535], "uint16"), np.array([7, 3], "uint16")]
    entry = make.split(tmp_path, documents, 100, "uint16").shards[0]
    assert (tmp_path / f"{entry.name}.bin").read_bytes() == b"\x02\x01\x03\x00\xff\xff\x07\x00\x03\x00"
    assert (tmp_path / f"{entry.name}.idx").read_bytes() == GOLDEN


@pytest.mark.parametrize("lengths", [[], [1], [0, 5, 0], [7, 11, 13]])
def test_int32_index(lengths: list[int]):
    expected = index_bytes(4, lengths, 4, list(range(len(lengths) + 1)))
    assert megatron.encode_index(np.array(lengths, np.int32), np.dtype("<i4")) == expected


def test_positions_beyond_two_gigabytes():
    data = megatron.encode_index(np.array([2**30, 2**30, 5], np.int32), np.dtype("<i4"))
    assert struct.unpack_from("<3q", data, 34 + 12) == (0, 2**32, 2**33)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(1, "<u2"), (50257, "<u2"), (65499, "<u2"), (65500, "<i4"), (65536, "<i4"), (151936, "<i4")],
)
def test_switch_over_of_the_token_dtype(vocab_size: int, dtype: str):
    assert megatron.token_dtype(vocab_size) == np.dtype(dtype)


@pytest.mark.parametrize(
    ("code", "dtype"), [(1, "<u1"), (2, "<i1"), (3, "<i2"), (4, "<i4"), (5, "<i8"), (8, "<u2")]
)  # fmt: skip
def test_reading_every_integer_type(tmp_path: Path, code: int, dtype: str):
    tokens = write_pair(tmp_path / "m", code, dtype, [3, 4, 5], [0, 1, 2, 3])
    dataset = Dataset.open(tmp_path / "m.bin")
    assert (dataset.documents, dataset.tokens) == (3, 12)
    np.testing.assert_array_equal(dataset.document(1), tokens[3:7])


@pytest.mark.parametrize("path", ["some.text_document", "some.text_document.bin"])
def test_a_pair_is_found_by_prefix_or_bin(tmp_path: Path, path: str):
    tokens = np.arange(5, dtype="<u2")
    (tmp_path / "some.text_document.bin").write_bytes(tokens.tobytes())
    (tmp_path / "some.text_document.idx").write_bytes(index_bytes(8, [2, 3], 2, [0, 1, 2]))
    dataset = Dataset.open(tmp_path / path)
    assert dataset.documents == 2 and dataset.document(1).tolist() == [2, 3, 4]
    assert dataset.manifest is None and dataset.vocab_size is None and dataset.tokenizer_path is None
    assert dataset.roles == {} and dataset.max_token_id() == 4
    with pytest.raises(UserError, match="no document records"):
        dataset.record(0)


@pytest.mark.parametrize(
    ("lengths", "documents"),
    [
        ([3, 4, 5, 6], [0, 2, 3, 4]),  # the first document has two sentences
        ([3, 4, 5], [0, 3]),  # one document
        ([3, 4, 5], [0, 0, 2, 2, 3, 3]),  # empty documents at the start, between and at the end
        ([3, 4], [0, 2, 2]),  # as many documents as sequences, yet not one each
        ([], [0, 0]),  # nothing but an empty document
    ],
)
def test_several_sequences_a_document(tmp_path: Path, lengths: list[int], documents: list[int]):
    tokens = write_pair(tmp_path / "m", 8, "uint16", lengths, documents).tolist()
    borders = [sum(lengths[:place]) for place in documents]
    expected = [tokens[a:b] for a, b in itertools.pairwise(borders)]
    dataset = Dataset.open(tmp_path / "m")
    assert [dataset.document(i).tolist() for i in range(dataset.documents)] == expected
    assert dataset.tokens == len(tokens)


def test_other_documents_of_the_same_tokens_are_another_dataset(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(np.arange(9, dtype="<u2").tobytes())
    identities = [Dataset.open(tmp_path / "a").identity]
    for lengths in ([4, 5], [5, 4], [9]):
        (tmp_path / "a.idx").write_bytes(index_bytes(8, lengths, 2, list(range(len(lengths) + 1))))
        identities.append(Dataset.open(tmp_path / "a").identity)
    assert len(set(identities)) == 4 and Dataset.open(tmp_path / "a").identity == identities[-1]


def test_damaged_pairs_are_refused(tmp_path: Path):
    write_pair(tmp_path / "m", 8, "uint16", [3, 4], [0, 1, 2])
    binary, index = tmp_path / "m.bin", tmp_path / "m.idx"
    tokens, good = binary.read_bytes(), index.read_bytes()
    for path, data, what in [
        (binary, tokens[:-2], "its index announces 14"),
        (binary, tokens + b"\0\0", "its index announces 14"),
        (binary, b"", "its index announces 14"),
        (index, b"", "not a Megatron index"),
        (index, good[:20], "not a Megatron index"),
        (index, good[:-1], "damaged index"),
        (index, good + b"\0", "damaged index"),
        (index, b"TNTIDX\0\0\0" + good[9:], "not a Megatron index"),
        (index, good[:9] + b"\2" + good[10:], "version 2"),
        (index, good[:17] + b"\x63" + good[18:], "dtype code 99"),
        (index, index_bytes(8, [3, 4], 2, [0, 1, 5]), "document index"),
        (index, index_bytes(8, [3, 4], 2, [0, 2, 1, 2]), "document index"),
        (index, index_bytes(8, [3, 4], 2, []), "document index"),
    ]:
        binary.write_bytes(tokens)
        index.write_bytes(good)
        path.write_bytes(data)
        with pytest.raises(UserError, match=what) as caught:
            Dataset.open(binary)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_token_types_that_are_no_tokens_are_refused(tmp_path: Path):
    write_pair(tmp_path / "m", 6, "float64", [3], [0, 1])
    with pytest.raises(UserError, match="dtype code 6"):
        Dataset.open(tmp_path / "m")
