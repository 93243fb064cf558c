"""Arrays written piece by piece are read by NumPy as the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workspace.array_file import ArrayFile
from pipeline.workspace.parts import DOCUMENT


@pytest.mark.parametrize("dtype", [np.dtype("<u2"), DOCUMENT, np.dtype("u1"), np.dtype("<i8")])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
@given(sizes=st.lists(st.integers(0, 1001), max_size=6))
def test_an_array_in_pieces(
    tmp_path_factory: pytest.TempPathFactory, dtype: np.dtype[Any], shape: tuple[int, ...], sizes: list[int]
) -> None:
    path: Path = tmp_path_factory.mktemp("arrays") / "a.npy"
    random = np.random.default_rng(sum(sizes))
    pieces = [
        np.frombuffer(random.bytes(size * int(np.prod(shape)) * dtype.itemsize), dtype).reshape(size, *shape)
        for size in sizes
    ]
    file = ArrayFile(path, dtype, shape)
    for piece in pieces:
        file.append(piece)
    file.finish()
    expected = np.concatenate([np.zeros((0, *shape), dtype), *pieces])
    read = np.load(path, allow_pickle=False)
    assert read.dtype == dtype and read.shape == expected.shape and read.tobytes() == expected.tobytes()
    np.save(path.with_name("b.npy"), expected)
    assert path.read_bytes() == path.with_name("b.npy").read_bytes()


def test_items_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "a.npy", np.dtype("<u2"), (2,))
    for wrong in (np.zeros((3, 2), "<u4"), np.zeros((3, 3), "<u2")):
        with pytest.raises(AssertionError):
            file.append(wrong)
    file.close()
