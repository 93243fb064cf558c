"""Opening and reading datasets: our directories and flat files; refusing what is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foundation.errors import UserError
from shards.dataset import Dataset


def refused(path: Path, split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        Dataset.open(path, split)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_documents_and_records_across_shards(small: tuple[Path, list[np.ndarray]]):
    path, documents = small
    dataset = Dataset.open(path)
    assert len(dataset.shards) == 3
    assert (dataset.documents, dataset.tokens) == (7, 42)
    for number, document in enumerate(documents):
        np.testing.assert_array_equal(dataset.document(number), document)
        record = dataset.record(number)
        assert (int(record["source"]), int(record["label"]), int(record["offset"])) == (1, -1, number * 101)
        assert record["content_hash"].tobytes() == struct.pack("<QQ", number, 7)
    assert dataset.max_token_id() == 41
    for number in (-1, 7):
        with pytest.raises(IndexError):
            dataset.document(number)


def test_what_the_manifest_says_is_at_hand(small: tuple[Path, list[np.ndarray]]):
    path, _ = small
    dataset = Dataset.open(path)
    assert dataset.vocab_size == 65000 and dataset.roles["end_of_text"].id == 3
    assert dataset.tokenizer_path == path / "tokenizer"
    assert dataset.manifest is not None and dataset.identity == dataset.manifest.identity


def test_the_tokens_are_a_read_only_map(small: tuple[Path, list[np.ndarray]]):
    document = Dataset.open(small[0]).document(0)
    with pytest.raises(ValueError, match="read-only"):
        document[0] = 1


def test_splits(small: tuple[Path, list[np.ndarray]]):
    assert Dataset.open(small[0], "val").documents == 2
    empty = Dataset.open(small[0], "test")
    assert (empty.documents, empty.tokens, empty.shards, empty.max_token_id()) == (0, 0, [], -1)


def test_int32_tokens(tmp_path: Path, make: SimpleNamespace):
    lengths = [60_000, 3, 45_000]
    documents = make.dataset(tmp_path, lengths, dtype="int32")
    dataset = Dataset.open(tmp_path)
    assert dataset.max_token_id() > 65535
    np.testing.assert_array_equal(dataset.document(2), documents[2])


def test_one_identity_whatever_the_place(tmp_path: Path, make: SimpleNamespace):
    for name in ("a", "b"):
        make.dataset(tmp_path / name, [5, 7])
    make.dataset(tmp_path / "c", [5, 8])
    a, b, c = (Dataset.open(tmp_path / name).identity for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".docs.npy"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "empty"])
def test_a_damaged_shard_file_is_named(small: tuple[Path, list[np.ndarray]], suffix: str, damage: str):
    path, _ = small
    file = sorted((path / "train").glob(f"*{suffix}"))[1]
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"truncated": data[:-1], "longer": data + b"\0", "empty": b""}[damage])
    message = refused(path)
    assert str(file) in message and f"the manifest says {len(data)}" in message
    assert Dataset.open(path, "val").documents == 2  # other splits are not concerned


@pytest.mark.parametrize("suffix", [".idx", ".docs.npy"])
def test_foreign_content_of_the_right_size_is_refused(small: tuple[Path, list[np.ndarray]], suffix: str):
    path, _ = small
    file = next((path / "train").glob(f"*{suffix}"))
    file.write_bytes(b"\x55" * file.stat().st_size)
    assert str(file) in refused(path)


def test_a_header_that_is_damaged_anywhere_is_no_traceback(small: tuple[Path, list[np.ndarray]]):
    """NumPy reads it as Python, and a file that begins as a zip as an archive."""
    file = next((small[0] / "train").glob("*.docs.npy"))
    whole = file.read_bytes()
    for place in range(128):
        for byte in b"('P\xff":
            file.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            with contextlib.suppress(UserError):
                Dataset.open(small[0])
    file.write_bytes(b"PK\x03\x04" + whole[4:])
    assert str(file) in refused(small[0])


def test_pickled_records_are_never_loaded(small: tuple[Path, list[np.ndarray]]):
    path, _ = small
    file = next((path / "train").glob("*.docs.npy"))
    size = file.stat().st_size
    np.save(file, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    file.write_bytes(file.read_bytes()[:size].ljust(size, b"\0"))
    assert str(file) in refused(path)


def test_nothing_there(tmp_path: Path):
    message = refused(tmp_path / "absent")
    assert str(tmp_path / "absent") in message and "python -m pipeline.process" in message
    message = refused(tmp_path)
    assert "manifest.json is missing" in message and "python -m pipeline.process" in message


def edit_manifest(path: Path, **changes: Any) -> None:
    value = json.loads((path / "manifest.json").read_bytes())
    for key, change in changes.items():
        if change is None:
            del value[key]
        else:
            value[key] = change
    (path / "manifest.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"version": 2}, "format version 2, this program reads 1"),
        ({"format": "other"}, "not the manifest of a token dataset"),
        ({"new_key": 1}, "new_key"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"dtype": "float99"}, "dtype"),
        ({"dtype": "int32"}, "the manifest says int32"),
        ({"splits": None}, "splits"),
        ({"splits": {"train": {}}}, "splits.train"),
    ],
)
def test_manifests_that_say_something_else(small: tuple[Path, list[np.ndarray]], changes: dict[str, Any], what: str):
    edit_manifest(small[0], **changes)
    message = refused(small[0])
    assert what in message and str(small[0]) in message


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"format": "mateconv-dataset"', b"{}"])
def test_damaged_manifests(small: tuple[Path, list[np.ndarray]], data: bytes):
    (small[0] / "manifest.json").write_bytes(data)
    assert "manifest.json" in refused(small[0])


def test_a_manifest_holds_no_nan(small: tuple[Path, list[np.ndarray]]):
    edit_manifest(small[0], settings={"max_bad_fraction": float("nan")})
    assert "NaN is no number" in refused(small[0])


def test_a_manifest_cannot_lead_out_of_its_directory(small: tuple[Path, list[np.ndarray]]):
    path, _ = small
    value = json.loads((path / "manifest.json").read_bytes())
    value["splits"]["train"]["shards"][0]["name"] = "../val/" + value["splits"]["val"]["shards"][0]["name"]
    edit_manifest(path, splits=value["splits"])
    assert "damaged manifest" in refused(path)


@pytest.mark.parametrize("files", [[".bin", ".idx"], [], [".bin", ".idx", ".docs.npy", ".exe"]])
def test_a_shard_has_its_three_files(small: tuple[Path, list[np.ndarray]], files: list[str]):
    path, _ = small
    value = json.loads((path / "manifest.json").read_bytes())
    value["splits"]["train"]["shards"][0]["files"] = {name: {"bytes": 1, "sha256": "0"} for name in files}
    edit_manifest(path, splits=value["splits"])
    assert "damaged manifest" in refused(path)


def test_the_manifest_s_identity_is_its_file_s_hash(small: tuple[Path, list[np.ndarray]]):
    import hashlib

    data = (small[0] / "manifest.json").read_bytes()
    assert Dataset.open(small[0]).identity == hashlib.sha256(data).hexdigest()


# nanoGPT's flat files


def test_a_flat_file_is_one_document(tmp_path: Path):
    tokens = np.array([50256, 1, 2, 65535, 50256, 9, 11], "<u2")
    (tmp_path / "train.bin").write_bytes(tokens.tobytes())
    dataset = Dataset.open(tmp_path / "train.bin")
    assert (dataset.documents, dataset.tokens, dataset.max_token_id()) == (1, 7, 65535)
    np.testing.assert_array_equal(dataset.document(0), tokens)


def test_an_empty_and_an_odd_flat_file(tmp_path: Path):
    (tmp_path / "e.bin").write_bytes(b"")
    empty = Dataset.open(tmp_path / "e.bin")
    assert (empty.documents, empty.tokens, empty.max_token_id()) == (0, 0, -1)
    (tmp_path / "o.bin").write_bytes(b"abc")
    assert "3 bytes is no whole number of uint16 tokens" in refused(tmp_path / "o.bin")


def test_a_flat_file_of_more_than_two_to_the_31_tokens(tmp_path: Path):
    """OpenWebText has 9 billion tokens. The file is sparse: it takes no room."""
    with (tmp_path / "big.bin").open("wb") as file:
        os.truncate(file.fileno(), 2 * (2**31 + 5))
        file.seek(2 * (2**31 + 4))
        file.write(b"\x07\x00")
    dataset = Dataset.open(tmp_path / "big.bin")
    assert dataset.tokens == 2**31 + 5 and len(dataset.document(0)) == 2**31 + 5
    assert dataset.document(0)[-1] == 7


def test_identity_of_a_flat_file_is_its_content(tmp_path: Path):
    tokens = np.arange(50_000).astype("<u2")
    for name in ("a", "b"):
        (tmp_path / f"{name}.bin").write_bytes(tokens.tobytes())
    assert Dataset.open(tmp_path / "a.bin").identity == Dataset.open(tmp_path / "b.bin").identity
    tokens[123] += 1
    (tmp_path / "b.bin").write_bytes(tokens.tobytes())
    assert Dataset.open(tmp_path / "a.bin").identity != Dataset.open(tmp_path / "b.bin").identity
    (tmp_path / "b.bin").write_bytes(tokens[:-1].tobytes())
    assert Dataset.open(tmp_path / "a.bin").identity != Dataset.open(tmp_path / "b.bin").identity
