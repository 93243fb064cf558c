"""Input that is huge, or becomes so when it is decompressed: memory and time stay bounded, other files go on."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.quick import quick

from .conftest import ROOT

MEGABYTE = 2**20


def zst(chunks: list[bytes]) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        for chunk in chunks:
            out.write(chunk)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def gz(chunks: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as out:
        out.writelines(chunks)
    return buffer.getvalue()


def by(compressor: Any) -> Callable[[list[bytes]], bytes]:
    return lambda chunks: b"".join([*map(compressor.compress, chunks), compressor.flush()])


PACKERS: dict[str, Callable[[list[bytes]], bytes]] = {
    "gz": gz, "zst": zst,
    "bz2": lambda chunks: by(bz2.BZ2Compressor())(chunks),
    "xz": lambda chunks: by(lzma.LZMACompressor(preset=0))(chunks),
}  # fmt: skip


def measured(directory: Path, *options: str) -> tuple[dict[str, Any], float, int]:
    """Accounts of a run over `directory`/raw, its CPU seconds, and the most memory (bytes) that one of its processes
    took, all as the kernel tells it of every process of the run's session."""
    running = subprocess.Popen(
        [sys.executable, "-m", "pipeline.process", "--input", "raw", "--output", "d/x", "--vocab_size", "300",
         "--workers", "1", "--max_bad_fraction", "1", *options],
        cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=(directory / "errors").open("wb"),
    )  # fmt: skip
    peaks: dict[int, int] = {}
    seconds: dict[int, float] = {}
    while running.poll() is None:
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == running.pid:
                    peak = (place / "status").read_text().partition("VmHWM:")[2].split()[0]
                    peaks[int(place.name)] = int(peak) * 1024
                    seconds[int(place.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        time.sleep(0.02)
    assert running.returncode == 0, (directory / "errors").read_text()
    statistics: dict[str, Any] = json.loads((directory / "d" / "x" / "stats.json").read_text())
    return statistics, sum(seconds.values()), max(peaks.values())


def corpus(directory: Path) -> Path:
    raw = directory / "raw"
    raw.mkdir()
    with (raw / "good.jsonl").open("w") as out:
        for number in range(500):
            out.write(json.dumps({"text": f"a good document, number {number}"}) + "\n")
    return raw


@pytest.mark.parametrize("kind", quick(PACKERS, ["zst"]))
def test_a_gigabyte_of_zeros_in_a_small_archive(tmp_path: Path, kind: str) -> None:
    raw = corpus(tmp_path)
    packed = PACKERS[kind]([bytes(16 * MEGABYTE)] * 64)
    assert len(packed) < 1.1 * MEGABYTE
    (raw / f"bomb.jsonl.{kind}").write_bytes(packed)
    statistics, seconds, peak = measured(tmp_path)
    assert statistics["accounts"]["quarantined"]["reasons"] == {"record_too_large": {"records": 1, "bytes": 2**30}}
    assert statistics["accounts"]["kept"]["records"] == 500
    assert peak < 400 * MEGABYTE and seconds < 40
    assert sum(path.stat().st_size for path in (tmp_path / "d").rglob("*") if path.is_file()) < 3 * MEGABYTE


@pytest.mark.slow
def test_a_hundred_million_empty_lines_in_a_small_archive(tmp_path: Path) -> None:
    raw = corpus(tmp_path)
    (raw / "bomb.jsonl.gz").write_bytes(gz([b"\n" * (10**7)] * 10))
    statistics, seconds, peak = measured(tmp_path)
    assert statistics["accounts"]["read"]["records"] == 500
    assert peak < 600 * MEGABYTE and seconds < 60


@pytest.mark.parametrize("kind", quick(PACKERS, ["gz", "zst"]))
@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "flipped"])
def test_damaged_archives_give_what_they_hold(tmp_path: Path, kind: str, damage: str) -> None:
    raw = corpus(tmp_path)
    text = [json.dumps({"text": f"packed {number} " + os.urandom(30).hex()}).encode() + b"\n" for number in range(3000)]
    packed = PACKERS[kind]([b"".join(text)])
    changed = {
        "empty": b"", "truncated": packed[: len(packed) * 2 // 3], "garbage": b"this is no archive at all" * 9,
        "flipped": packed[: len(packed) // 2] + bytes([packed[len(packed) // 2] ^ 16]) + packed[len(packed) // 2 + 1 :],
    }[damage]  # fmt: skip
    (raw / f"hurt.jsonl.{kind}").write_bytes(changed)
    statistics, _, _ = measured(tmp_path)
    assert statistics["sources"]["good.jsonl"]["kept"]["records"] == 500
    if damage != "empty" and (damage, kind) != ("flipped", "zst"):  # this frame has no checksum, by Zstandard's default
        assert list(statistics["damaged_inputs"]) == [f"hurt.jsonl.{kind}"]
    if damage == "truncated" and kind != "bz2":  # whose blocks of 900 kB are all or nothing
        assert statistics["sources"][f"hurt.jsonl.{kind}"]["read"]["records"] > 500


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_lines_of_a_hundred_megabytes(tmp_path: Path) -> None:
    """Three of them, of which the limit lets none in: memory is bounded by the limit, not by the line."""
    raw = corpus(tmp_path)
    with (raw / "long.jsonl").open("wb") as out:
        for letter in (b"a", b"\xc3\xa4", b"\xff"):
            out.write(b'{"text": "')
            for _ in range(100):
                out.write(letter * (MEGABYTE // len(letter)))
            out.write(b'"}\n{"text": "a short one in between"}\n')
    statistics, seconds, peak = measured(tmp_path)
    assert statistics["accounts"]["quarantined"]["reasons"]["record_too_large"]["records"] == 3
    assert statistics["sources"]["long.jsonl"]["kept"]["records"] == 1
    assert peak < 500 * MEGABYTE and seconds < 60


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_record_of_a_hundred_megabytes_that_the_limit_lets_in(tmp_path: Path, tokenizer: Path) -> None:
    """It takes memory in proportion, with the fast engine and a tokenizer that is not trained on it."""
    raw = corpus(tmp_path)
    with (raw / "long.jsonl").open("wb") as out:
        words = " ".join(f"word{number}" for number in range(10_000)).encode()
        out.write(b'{"text": "' + b"\\n".join([words] * (100 * MEGABYTE // len(words))) + b'"}\n')
    options = {"max_record_bytes": "200MB", "max_repeated_lines": "null", "max_repeated_ngrams": "null"}
    flags = [word for name, value in {**options, "tokenizer": str(tokenizer)}.items() for word in (f"--{name}", value)]
    statistics, seconds, peak = measured(tmp_path, *flags)
    assert statistics["sources"]["long.jsonl"]["kept"]["records"] == 1
    assert statistics["accounts"]["kept"]["bytes"] > 90 * MEGABYTE
    assert peak < 3000 * MEGABYTE and seconds < 240


def test_the_measure_measures(tmp_path: Path) -> None:
    """What `measured` reports is of the order of what a process really uses."""
    corpus(tmp_path)
    started = time.monotonic()
    _, seconds, peak = measured(tmp_path)
    assert 0.2 < seconds < 4 * (time.monotonic() - started) + 1
    assert 20 * MEGABYTE < peak < 1000 * MEGABYTE
