"""Decompress archives as streams, in bounded memory: .gz, .bz2 and .xz by the standard library, .zst by pyarrow.

pyarrow reads Zstandard because it is needed for Parquet anyway; it joins frames, refuses windows above 128 MiB and
reports a stream that ends early, as the command-line tool does (the `zstandard` package lets that pass in silence).
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from pipeline.sources.errors import ErrorKeeper

CHUNK = 1 << 20
XZ_MEMORY = 256 << 20
"""Most bytes an .xz stream may ask for (its dictionary); `xz -9` needs 65 MiB."""

_ZST_READ = 1 << 16
"""Bytes asked for at a time: what a damaged archive loses at most of what could still be read."""

SUFFIXES = {".gz": "gz", ".zst": "zst", ".bz2": "bz2", ".xz": "xz"}
"""Suffix of a file name -> kind of compression."""


class Damaged(Exception):
    """An archive ends too early or holds something else than the compressed data it should."""


def split_suffix(name: str) -> tuple[str, str]:
    """A file's name without the suffix of its compression, and the kind of compression ("" for none)."""
    for suffix, kind in SUFFIXES.items():
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], kind
    return name, ""


def decompressed(raw: io.RawIOBase, kind: str) -> Iterator[bytes]:
    """The content of the archive `raw`, at most a megabyte at a time; the members of an archive that was appended to
    follow one another. Raises `Damaged` after the last readable byte; errors of reading `raw` pass through."""
    if kind == "zst":
        return _zst(raw)
    return _members(raw, _MAKERS[kind], padded=kind in ("gz", "xz"))


class _Decompressor(Protocol):
    """What bz2's and lzma's decompressors have in common."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface of the others. RFC 1952; the checksum is verified."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_MAKERS: dict[str, Callable[[], Any]] = {
    "gz": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
}


def _members(raw: io.RawIOBase, make: Callable[[], _Decompressor], padded: bool) -> Iterator[bytes]:
    data = b""
    while True:
        if not data and not (data := _read(raw)):
            return
        if padded and not (data := data.lstrip(b"\0")):  # gzip and xz allow zero bytes between and after members
            continue
        member = make()
        while not member.eof:
            if not data and member.needs_input and not (data := _read(raw)):
                raise Damaged("the archive ends before its end-of-stream marker")
            try:
                content = member.decompress(data, CHUNK)
            except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
                raise Damaged(str(error)) from None
            data = b""
            if content:
                yield content
        data = member.unused_data


def _read(raw: io.RawIOBase) -> bytes:
    return raw.read(CHUNK // 4) or b""


def _zst(raw: io.RawIOBase) -> Iterator[bytes]:
    import pyarrow as pa

    keeper = ErrorKeeper(raw)
    stream = pa.CompressedInputStream(pa.PythonFile(keeper, "r"), "zstd")
    while True:
        try:
            content = stream.read(_ZST_READ)
        except OSError as error:
            if keeper.error is not None:
                raise keeper.error from None
            raise Damaged(str(error)) from None
        if not content:
            return
        yield content
