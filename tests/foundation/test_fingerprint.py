"""Fingerprints are plain SHA-256, so that `sha256sum` can check them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from foundation import fingerprint

# FIPS 180-4's own example, and the hash of nothing
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_bytes():
    assert fingerprint.of_bytes(b"abc") == ABC == fingerprint.of_bytes(memoryview(b"abc"))
    assert fingerprint.of_bytes(b"") == NOTHING


@pytest.mark.parametrize("size", [0, 3, 2**18, 2**20 + 7])
def test_file(tmp_path: Path, size: int):
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "f").write_bytes(data[:size])
    assert fingerprint.of_file(tmp_path / "f") == hashlib.sha256(data[:size]).hexdigest()


def test_json_has_one_form_only():
    expected = hashlib.sha256('{"a":[1,2.5,null,true],"ü":"诗"}'.encode()).hexdigest()
    assert fingerprint.of_json({"ü": "诗", "a": [1, 2.5, None, True]}) == expected
    assert fingerprint.of_json({"a": (1, 2.5, None, True), "ü": "诗"}) == expected
    assert fingerprint.of_json({"a": [2.5, 1, None, True], "ü": "诗"}) != expected
    with pytest.raises(ValueError):
        fingerprint.of_json(float("nan"))


def test_json_with_names_that_are_not_utf8():
    names = [os.fsdecode(name) for name in (b"caf\xe9", b"caf\xe8")] + ["café", r"caf\udce9"]
    assert len({fingerprint.of_json([name]) for name in names}) == 4


def test_short():
    assert fingerprint.short(ABC) == "ba7816bf" and fingerprint.short(ABC, 3) == "ba7"
