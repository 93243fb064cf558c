"""Dirty input: every record is accounted for, what could not be read is kept with its place and reason."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.process import process

GOOD = [b'{"text": "plain"}', b'{"text": "caf\\u00e9", "label": 4}', '{"text": "世界"}'.encode(), b'{"text": "plain"}']
BAD = {
    b"not json": "invalid_json",
    b'{"text": "half': "invalid_json",
    b'{"text": "raw \x00 nul"}': "invalid_json",
    b'{"text": "lone \\ud800 surrogate"}': "invalid_json",
    b'{"text": NaN}': "invalid_json",
    b"[" * 2000 + b"]" * 2000: "invalid_json",
    b'{"text": "\xff\xfe"}': "invalid_utf8",
    b'\xef\xbb\xbf{"text": "marked"}': "byte_order_mark",
    b'["text"]': "not_an_object",
    b"17": "not_an_object",
    b'{"body": "x"}': "missing_text_field",
    b'{"text": 3}': "text_not_a_string",
    b'{"text": null}': "text_not_a_string",
    b'{"text": "' + b"x" * 5000 + b'"}': "record_too_large",
}


def make(directory: Path, lines: list[bytes], **changes: Any) -> PipelineConfig:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "in.jsonl"
    path.write_bytes(b"\n".join(lines))
    defaults: dict[str, Any] = {
        "input": [str(path)], "output": directory / "d" / "x", "vocab_size": 300, "workers": 1,
        "max_bad_fraction": 1.0, "max_record_bytes": 4500, "val_fraction": 0.0,
    }  # fmt: skip
    return PipelineConfig(**{**defaults, **changes})


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def accounts(config: PipelineConfig) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((config.output / "stats.json").read_text())["accounts"]
    return value


@pytest.mark.parametrize("block", [64, 1000, 1_000_000])
def test_every_bad_record_is_quarantined_with_its_place(tmp_path: Path, block: int) -> None:
    lines: list[bytes] = []
    for bad in BAD:
        lines += [bad, GOOD[len(lines) % 4], b""]
    config = make(tmp_path, lines, block_bytes=block)
    process(config)
    data = (tmp_path / "in.jsonl").read_bytes()
    found = rows(config.output / "quarantine" / "records.jsonl")
    assert [row["reason"] for row in found] == list(BAD.values())
    for row, raw in zip(found, BAD, strict=True):
        assert row["source"] == "in.jsonl" and row["bytes"] == len(raw)
        assert data[row["offset"] :].startswith(raw)
        assert data[: row["offset"]].count(b"\n") + 1 == row["line"]
        kept = base64.b64decode(row["raw_base64"])
        assert raw.startswith(kept) and row["raw_complete"] == (kept == raw)
    assert accounts(config)["quarantined"]["bytes"] == sum(map(len, BAD))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*GOOD, *BAD, b"", b"   ", b'{"text": ""}', b'{"text": " \\r\\n "}']),
            st.binary(max_size=40).filter(lambda raw: b"\n" not in raw),
            st.text(max_size=30).map(lambda text: json.dumps({"text": text}).encode()),
        ),
        max_size=40,
    ),
    st.sampled_from([64, 300, 10**6]),
)
def test_accounts_close(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block: int) -> None:
    """Every line that is not blank is kept, a duplicate, rejected or quarantined; so is every byte of text."""
    config = make(tmp_path_factory.mktemp("dirty"), [*lines, b'{"text": "at least this one"}'], block_bytes=block)
    process(config)
    account = accounts(config)
    records = sum(1 for line in [*lines, b"x"] if line.strip())
    assert account["read"]["records"] == records
    parts = [account[name] for name in ("kept", "duplicate", "rejected", "quarantined")]
    assert sum(part["records"] for part in parts) == records
    assert sum(part["bytes"] for part in parts) == account["read"]["bytes"]
    extracted = 0
    for line in [*lines, b'{"text": "at least this one"}']:
        try:
            text = json.loads(line.decode())["text"]
            extracted += (
                len(text.encode()) if isinstance(text, str) and len(line) <= 4500 and "NaN" not in str(line) else 0
            )
        except (ValueError, LookupError, TypeError, RecursionError, AttributeError):
            continue
    assert sum(part["bytes"] for part in parts[:3]) == extracted


def test_truncated_archive_gives_what_it_holds(tmp_path: Path) -> None:
    whole = b"".join(json.dumps({"text": f"document {n} " + "word " * (n % 50)}).encode() + b"\n" for n in range(3000))
    config = make(tmp_path, [b'{"text": "from the other file"}'])
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(whole)[:-3000])
    config = config.model_copy(update={"input": [str(cut), *config.input]})
    process(config)
    statistics = json.loads((config.output / "stats.json").read_text())
    assert "cut.jsonl.gz" in statistics["damaged_inputs"]
    assert 500 < statistics["sources"]["cut.jsonl.gz"]["kept"]["records"] < 3000
    assert statistics["sources"]["in.jsonl"]["kept"]["records"] == 1
    for row in rows(config.output / "quarantine" / "records.jsonl"):
        raw = base64.b64decode(row["raw_base64"])
        assert whole[row["offset"] :].startswith(raw)


def test_archive_bomb_is_bounded(tmp_path: Path) -> None:
    config = make(tmp_path, GOOD)
    bomb = tmp_path / "bomb.jsonl.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as out:
        for _ in range(64):
            out.write(b" " * 10**6)
    config = config.model_copy(update={"input": [str(bomb), *config.input]})
    process(config)
    [row] = rows(config.output / "quarantine" / "records.jsonl")
    assert row["reason"] == "record_too_large" and row["bytes"] == 64 * 10**6 and len(row["raw_base64"]) < 10_000


def test_too_many_bad_records_stop_with_the_reasons(tmp_path: Path) -> None:
    config = make(tmp_path, [*GOOD, b'{"body": "x", "title": "y"}', b"nonsense"], max_bad_fraction=0.05)
    with pytest.raises(UserError, match=r"2 of 6 records.*missing_text_field.*--text_field"):
        process(config)
    assert not (config.output / "manifest.json").exists()
    process(config.model_copy(update={"max_bad_fraction": 0.5}), resume=True)
    assert accounts(config)["quarantined"]["records"] == 2


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    config = make(tmp_path, [b'{"text": "short"}'], min_chars=100, tokenizer=None)
    with pytest.raises(UserError, match="no text left"):
        process(config)
    empty = make(tmp_path / "empty", [])
    with pytest.raises(UserError, match="no text left"):
        process(empty)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("paragraph", ["one\ntwo", "three"]), ("line", ["one", "two", "three"]), ("file", ["one\ntwo\n\nthree"])],
)
def test_text_files(tmp_path: Path, unit: str, expected: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\none\r\ntwo\r\n \r\nthree\r\n")
    config = make(tmp_path, [], text_documents=unit, max_record_bytes=10**6).model_copy(update={"input": [str(path)]})
    process(config)
    from shards.dataset import Dataset
    from tokenization.tokenizer import Tokenizer

    dataset = Dataset.open(config.output)
    tokenizer = Tokenizer.load(config.output / "tokenizer")
    assert [tokenizer.decode(dataset.document(n)[:-1]) for n in range(dataset.documents)] == expected


def test_bad_text_files_are_quarantined(tmp_path: Path) -> None:
    config = make(tmp_path, GOOD)
    for name, data in (
        ("nul.txt", b"a\0b"),
        ("latin.txt", b"caf\xe9"),
        ("mark.txt", b"\xef\xbb\xbfx"),
        ("big.txt", b"y " * 4000),
    ):
        (tmp_path / name).write_bytes(data)
    config = config.model_copy(update={"input": [str(tmp_path)]})
    process(config)
    reasons = {row["source"]: row["reason"] for row in rows(config.output / "quarantine" / "records.jsonl")}
    assert reasons == {
        "nul.txt": "nul_byte", "latin.txt": "invalid_utf8", "mark.txt": "byte_order_mark", "big.txt": "record_too_large"
    }  # fmt: skip


@pytest.mark.parametrize("limit", [1, 7, 113, 150, 250])
def test_max_samples_reads_the_first_records(small: PipelineConfig, limit: int) -> None:
    process(small.model_copy(update={"exact_dedup": False}))
    everything = accounts(small)
    config = small.model_copy(
        update={
            "output": small.output.parent / "n" / "x",
            "max_samples": limit,
            "exact_dedup": False,
            "max_bad_fraction": 1,
        }
    )
    process(config)
    account = accounts(config)
    assert account["read"]["records"] == limit < everything["read"]["records"]


def rejected_rows(directory: Path, samples: Any) -> list[dict[str, Any]]:
    """What rejected/ holds for documents of 4 to 7 characters, an empty one and a long one, in two files of tasks."""
    texts = ["tiny", "", "x" * 50, "just right for this", *("small" + str(n) for n in range(20))]
    lines = [json.dumps({"text": text}).encode() for text in texts]
    config = make(directory, lines, min_chars=10, max_chars=40, rejected_samples=samples, block_bytes=100)
    process(config)
    reasons = accounts(config)["rejected"]["reasons"]
    assert {name: entry["records"] for name, entry in reasons.items()} == {"empty": 1, "too_long": 1, "too_short": 21}
    path = config.output / "rejected" / "records.jsonl"
    return rows(path) if path.exists() else []


def test_rejected_documents_are_counted_and_shown(tmp_path: Path) -> None:
    everything = rejected_rows(tmp_path / "all", "all")
    assert [row["line"] for row in everything] == [1, 2, 3, *range(5, 25)]
    assert [row["text"] for row in everything[:3]] == ["tiny", "", "x" * 50]
    shown = rejected_rows(tmp_path / "some", 3)
    for reason in ("empty", "too_long", "too_short"):
        of_reason = [row for row in everything if row["reason"] == reason]
        drawn = sorted(of_reason, key=lambda row: (zlib.crc32(row["text"].encode()), row["line"]))[:3]
        assert [row for row in shown if row["reason"] == reason] == sorted(drawn, key=lambda row: row["line"])
    assert [row["line"] for row in shown] == sorted(row["line"] for row in shown)
    assert rejected_rows(tmp_path / "none", 0) == []


def test_long_rejected_documents_are_cut_unless_all_are_wanted(tmp_path: Path) -> None:
    text = "長い" * 700
    for samples, length in ((1, 500), ("all", 1400)):
        config = make(
            tmp_path / str(samples), [json.dumps({"text": text}).encode(), GOOD[0]], max_chars=40,
            max_record_bytes=10**5, rejected_samples=samples,
        )  # fmt: skip
        process(config)
        [row] = rows(config.output / "rejected" / "records.jsonl")
        assert row["text"] == text[:length] and row["bytes"] == len(text.encode())
