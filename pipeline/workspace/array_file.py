"""Write an array to an .npy file piece by piece, in the memory of one piece."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class ArrayFile:
    """An .npy file (numpy.lib.format, version 1.0) that grows along its first axis. Its header is written again at the
    end, when the length is known: NumPy leaves room in it for that."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> None:
        self._dtype, self._shape = dtype, shape  # of one item
        self._length = 0
        self._file = path.open("wb")
        self._header_bytes = self._file.write(self._header())

    def _header(self) -> bytes:
        buffer = io.BytesIO()
        value = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._length, *self._shape),
        }
        np.lib.format.write_array_header_1_0(buffer, value)
        return buffer.getvalue()

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add items (n, …)."""
        assert values.dtype == self._dtype and values.shape[1:] == self._shape
        self._length += len(values)
        if values.size:
            self._file.write(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)

    def finish(self) -> None:
        """Complete the file."""
        header = self._header()
        assert len(header) == self._header_bytes
        self._file.seek(0)
        self._file.write(header)
        self._file.close()

    def close(self) -> None:
        """Give the file up."""
        self._file.close()
