"""Lines and texts are the same for every block size and every compression; archives in every condition."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipeline.sources.reading import read

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress
}  # fmt: skip
DIRTY = st.lists(
    st.sampled_from(
        [b"\n", b"\n", b"\n\n", b" ", b"\r\n", b"\t", b"--SEP--", b"--", b"word ", "世界".encode(), b"x" * 70, b"."]
    ),
    max_size=120,
).map(b"".join)
BLANK = b" \t\r\x0b\x0c"
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def paragraphs(data: bytes) -> list[tuple[int, bytes]]:
    """Runs of lines that are not blank, written plainly: (offset, text)."""
    found: list[tuple[int, bytes]] = []
    offset, open_ = 0, False
    for line in data.split(b"\n"):
        if line.strip():
            if open_:
                found[-1] = (found[-1][0], found[-1][1] + b"\n" + line)
            else:
                found.append((offset, line))
        open_ = bool(line.strip())
        offset += len(line) + 1
    return found


def separated(data: bytes, separator: bytes) -> list[tuple[int, bytes]]:
    found, offset = [], 0
    for text in data.split(separator):
        found.append((offset, text))
        offset += len(text) + len(separator)
    return [(offset, text) for offset, text in found if text.strip()]


def expected(data: bytes, unit: str) -> list[tuple[int, bytes]]:
    match unit:
        case "paragraph":
            return paragraphs(data)
        case "line":
            return [(m.start(), m[0]) for m in re.finditer(rb"[^\n]+", data) if m[0].strip()]
        case "file":
            whole = re.fullmatch(rb"(?:[ \t\r\x0b\x0c]*\n)*(.*?)(?:\n[ \t\r\x0b\x0c]*)*", data, re.DOTALL)
            assert whole
            return [(whole.start(1), whole[1])] if data.strip() else []
    return separated(data, unit.encode())


@many
@given(DIRTY, st.sampled_from(["paragraph", "line", "file", "--SEP--", "--", "\n\n"]), st.integers(64, 200))
def test_texts_are_those_of_a_plain_reader(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, unit: str, block: int
) -> None:
    folder = tmp_path_factory.mktemp("text")
    options = {"text_documents": unit} if unit in ("paragraph", "line", "file") else {"text_separator": unit}
    (folder / "a.txt").write_bytes(data)
    wanted = expected(data, unit)
    for limit in (block, 10**6):
        found = read(folder / "a.txt", block_bytes=limit, **options)
        assert [(d.offset, d.text.encode()) for d in found.documents] == wanted
        assert [d.line for d in found.documents] == [data[: d.offset].count(b"\n") + 1 for d in found.documents]
        assert not found.bad
    (folder / "a.txt.gz").write_bytes(gzip.compress(data))
    assert [(d.offset, d.text.encode()) for d in read(folder / "a.txt.gz", **options).documents] == wanted


def test_long_blanks_and_long_lines_across_blocks(tmp_path: Path) -> None:
    data = b"a" + b" " * 9000 + b"\nb\n" + b" " * 9000 + b"\n" + b"\t" * 5000 + b"c" * 5000 + b"\n\n\nd"
    (tmp_path / "a.txt").write_bytes(data)
    for block in (64, 1000, 4096, 10**6):
        found = read(tmp_path / "a.txt", block_bytes=block)
        assert [(d.offset, d.text.encode()) for d in found.documents] == paragraphs(data)


def test_texts_beyond_the_limit_are_bounded(tmp_path: Path) -> None:
    data = b"first\n\n" + b"x" * 9000 + b"\n" + b"y" * 9000 + b"\nz\n\nlast\n\n"
    (tmp_path / "a.txt").write_bytes(data)
    for block in (64, 5000, 10**6):
        found = read(tmp_path / "a.txt", block_bytes=block, max_record_bytes=5000)
        assert found.texts == ["first", "last"]
        [(_, line, bad)] = found.bad
        assert (line, bad.offset, bad.reason, len(bad.raw)) == (3, 7, "record_too_large", 4096)
        small = read(tmp_path / "a.txt", block_bytes=block, max_record_bytes=4)
        assert small.texts == ["last"] and [bad.size for _, _, bad in small.bad] == [5, 18_003]
    for unit, size in (("line", 9000), ("file", len(data) - 2)):
        bad = read(tmp_path / "a.txt", text_documents=unit, max_record_bytes=5000).bad[0][2]
        assert bad.reason == "record_too_large" and bad.size == size


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_lines_are_the_plain_ones(tmp_path: Path, suffix: str) -> None:
    lines = [json.dumps({"text": f"document {n} " + "word " * (n % 50), "label": n % 3}) for n in range(3000)]
    data = "\n".join(lines).encode()
    (tmp_path / "a.jsonl").write_bytes(data)
    plain = read(tmp_path / "a.jsonl", block_bytes=10_000)
    path = tmp_path / f"b.jsonl{suffix}"
    half = len(data) // 2
    for archive in (COMPRESS[suffix](data), COMPRESS[suffix](data[:half]) + COMPRESS[suffix](data[half:])):
        path.write_bytes(archive)
        found = read(path)
        assert [d[1:] for d in found.documents] == [d[1:] for d in plain.documents] and not found.damage


@pytest.mark.parametrize("suffix", COMPRESS)
def test_damaged_archives_give_what_they_hold(tmp_path: Path, suffix: str) -> None:
    lines = [json.dumps({"text": f"document {n} " + "word " * (n % 50)}) for n in range(20_000)]
    data = "\n".join(lines).encode()
    archive = COMPRESS[suffix](data)
    path = tmp_path / f"a.jsonl{suffix}"
    for damaged, least in ((archive[: len(archive) // 2], 1), (archive[:-3], 4000), (archive + b"no archive", 4000)):
        path.write_bytes(damaged)
        found = read(path)
        assert path.name in found.damage and least <= len(found.texts) <= len(lines)
        assert [json.loads(line)["text"] for line in lines[: len(found.texts)]] == found.texts
        assert found.digests[path.name]
    for nothing in (b"", b"this is no archive"):
        path.write_bytes(nothing)
        found = read(path)
        assert not found.texts and bool(found.damage) == bool(nothing)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_archive_bombs_are_bounded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](b" " * 40_000_000 + b'\n{"text": "after"}'))
    found = read(path, max_record_bytes=100_000)
    assert found.texts == ["after"]
    [(_, _, bad)] = found.bad
    assert bad.reason == "record_too_large" and bad.size == 40_000_000 and len(bad.raw) == 4096


def test_a_window_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    """A .zst frame may ask for gigabytes of window; refused like the command-line tool does by default."""
    parameters = zstandard.ZstdCompressionParameters(window_log=31)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "a.jsonl.zst").write_bytes(stream.compress(b'{"text": "x"}') + stream.flush())
    found = read(tmp_path / "a.jsonl.zst")
    assert not found.texts and "memory" in found.damage["a.jsonl.zst"]


@many
@given(
    st.lists(
        st.sampled_from([b'{"text": "a"}', b"", b" ", b"nonsense", b'{"text": "' + b"y" * 200 + b'"}', b"\r"]),
        max_size=40,
    ),
    st.booleans(),
    st.integers(64, 400),
)
def test_json_lines_are_the_same_for_every_block_size(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], newline: bool, block: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * newline)
    whole, cut = read(path), read(path, block_bytes=block)
    assert whole.documents == cut.documents and [b[:2] for b in whole.bad] == [b[:2] for b in cut.bad]
    assert len(whole.documents) + len(whole.bad) == sum(1 for line in lines if line.strip())
