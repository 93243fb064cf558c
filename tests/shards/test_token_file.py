"""The file of a shard's tokens: what was appended is what is on the disk, with and without the page cache."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from shards import token_file
from shards.token_file import BUFFER_BYTES, BUFFERS, TokenFile

SIZES = [0, 1, 4095, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, (BUFFERS + 2) * BUFFER_BYTES + 4099]


def written(path: Path, data: bytes, step: int) -> str:
    file = TokenFile(path)
    for start in range(0, len(data), step):
        file.append(memoryview(data)[start : start + step])
    assert file.size == len(data)
    return file.finish()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1 << 20, 3 * BUFFER_BYTES + 7, 999_983])
def test_bytes_and_checksum(tmp_path: Path, size: int, step: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert written(tmp_path / "x", data, step) == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize("refuses", ["open", "write"])
def test_a_file_system_that_knows_no_direct_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    direct = token_file._O_DIRECT
    if not direct:
        pytest.skip("this system has no O_DIRECT")
    import fcntl

    open_, pwrite = os.open, os.pwrite
    refused = []

    def refuse(asked: bool) -> None:
        if asked:
            refused.append(refuses)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def opening(path: Path, flags: int, mode: int) -> int:
        descriptor = open_(path, flags & ~direct, mode)
        refuse(refuses == "open" and bool(flags & direct))
        return descriptor

    def writing(descriptor: int, data: memoryview, offset: int) -> int:
        refuse(refuses == "write" and bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & direct))
        return pwrite(descriptor, data, offset)

    if refuses == "open":
        monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "pwrite", writing)
    data = np.random.default_rng(0).bytes(2 * BUFFER_BYTES + 5)
    assert written(tmp_path / "x", data, 1 << 20) == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "x").read_bytes() == data and len(refused) == 1


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    file = TokenFile(tmp_path / "x")
    file.append(memoryview(b"tokens"))
    with pytest.raises(OSError, match="No space left") as raised:
        file.finish()
    assert raised.value.filename == str(tmp_path / "x")
    file.close()
