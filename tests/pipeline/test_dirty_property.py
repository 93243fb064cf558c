"""Over generated dirty corpora of every format the accounts close, and say what a plain reader counts."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import PipelineConfig
from pipeline.process import process

from .conftest import InProcess, plain_cleaning

LIMIT = 700
"""max_record_bytes of these tests."""
NO_FILTERS: dict[str, Any] = {
    "max_symbols": None, "max_digits": None, "min_letters": None, "max_repeated_lines": None,
    "max_repeated_ngrams": None,
}  # fmt: skip
RAW = [
    b"not json", b'{"text": "half', b'{"text": "raw \x00 nul"}', b'{"text": "\xff\xfe"}', b'{"text": "\xed\xa0\x80"}',
    b'{"text": "lone \\ud800 surrogate"}', b'{"text": "pair \\ud83d\\ude00"}', b'{"text": NaN}',
    b'{"text": "a", "n": NaN}',
    b'{"n": -Infinity, "text": "a"}', b"[" * 300 + b"]" * 300, b"[" * 90000, b'{"a":' * 200 + b"1" + b"}" * 200,
    b'\xef\xbb\xbf{"text": "marked"}', b'["text"]', b"17", b"null", b'"text"', b"{}", b'{"body": "x"}', b'{"text": 3}',
    b'{"text": null}', b'{"text": ["x"]}', b'{"text": {"text": "x"}}', b'{"text": "first", "text": "second"}',
    b'{"text": 1, "text": "last wins"}', b'{"text": "last loses", "text": 1}', b'{"text": "x"} {"text": "y"}',
    b'{"text": "x"},', b'{"text": "', b'"}', b'{"text": "tab\there"}', b'{"text": "x", "label": "three"}',
    b'{"text": "x", "label": 3}', b'{"text": "x", "label": -7}', b'{"text": "' + b"x" * LIMIT + b'"}', b"x" * 5000,
    b"", b" ", b"\t\r", b"\x0c", b'{"text": ""}', b'{"text": " \\r\\n "}', b'{"text": "\\u0000\\u0007"}',
    b'{"text": "same"}', b'{"text": "' + b"y" * LIMIT + b'"}',
]  # fmt: skip


@dataclass
class Count:
    """What a plain reader finds: the texts, and how many records are bad, with their raw bytes."""

    texts: list[str] = field(default_factory=list)
    bad: int = 0
    bad_bytes: int = 0

    def add(self, raw: bytes, text: str | None) -> None:
        if text is None:
            self.bad += 1
            self.bad_bytes += len(raw)
        else:
            self.texts.append(text)

    def agrees(self, accounts: dict[str, Any]) -> None:
        """Compare with the accounts of a dataset."""
        kept = {text for text in map(plain_cleaning, self.texts) if text}
        empty = sum(not plain_cleaning(text) for text in self.texts)
        assert accounts["read"]["records"] == len(self.texts) + self.bad
        assert accounts["kept"]["records"] == len(kept)
        assert accounts["rejected"]["records"] == empty
        assert accounts["duplicate"]["records"] == len(self.texts) - empty - len(kept)
        assert accounts["quarantined"]["records"] == self.bad
        parts = [accounts[name] for name in ("kept", "duplicate", "rejected", "quarantined")]
        for unit in ("records", "bytes"):
            assert sum(part[unit] for part in parts) == accounts["read"][unit]
        assert sum(part["bytes"] for part in parts[:3]) == sum(len(text.encode()) for text in self.texts)
        if self.bad_bytes >= 0:
            assert parts[3]["bytes"] == self.bad_bytes


def read_json(data: bytes) -> str | None:
    """The text of a JSON record by Python's own parser, made as strict as RFC 8259; None for a bad one."""

    def refuse(value: str) -> Any:
        raise ValueError(value)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, value in items:
            (key + (value if isinstance(value, str) else "")).encode()  # lone surrogates raise
        return dict(items)

    if len(data) > LIMIT or data.startswith(b"\xef\xbb\xbf"):
        return None
    try:
        record = json.loads(data.decode(), parse_constant=refuse, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        return None
    label = record.get("label")
    return record["text"] if label is None or (type(label) is int and 0 <= label < 2**31) else None


def read_lines(data: bytes) -> Count:
    """JSON lines: every line that is not blank is a record."""
    count = Count()
    for line in data.split(b"\n"):
        if line.strip():
            count.add(line, read_json(line))
    return count


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda data: __import__("pyarrow").compress(data, "zstd", asbytes=True),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.run.make_executor", lambda config, setup, tasks: InProcess(setup))


def run(directory: Path, tokenizer: Path, files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """The accounts of the dataset made of `files` (and one good document, so that there is something to publish)."""
    raw = directory / "raw"
    raw.mkdir()
    for name, data in files.items():
        (raw / name).write_bytes(data)
    config = PipelineConfig(
        input=[str(raw)], output=directory / "d" / "x", tokenizer=str(tokenizer), max_bad_fraction=1.0,
        max_record_bytes=LIMIT, val_fraction=0.0, report=False, **{**NO_FILTERS, **changes},
    )  # fmt: skip
    process(config)
    accounts: dict[str, Any] = json.loads((config.output / "stats.json").read_text())["accounts"]
    return accounts


LINES = st.lists(
    st.one_of(
        st.sampled_from(RAW),
        st.binary(max_size=40).filter(lambda raw: b"\n" not in raw),
        st.text(max_size=60).map(lambda text: json.dumps({"text": text}).encode()),
        st.text(max_size=60).map(lambda text: json.dumps({"text": text, "label": 1}, ensure_ascii=False).encode()),
    ),
    max_size=30,
)
GOOD = b'{"text": "one that is certainly good"}'
PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(
    LINES, st.sampled_from(list(COMPRESSIONS)), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(),
    st.sampled_from([64, 300, 10**6]),
)  # fmt: skip
def test_json_lines(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Path, lines: list[bytes], compression: str, end: bytes,
    final: bool, marked: bool, block: int,
) -> None:  # fmt: skip
    data = (b"\xef\xbb\xbf" if marked else b"") + end.join([*lines, GOOD]) + (end if final else b"")
    if not lines:
        data = data.removeprefix(b"\xef\xbb\xbf")
    name = f"in.jsonl{compression}"
    accounts = run(tmp_path_factory.mktemp("d"), tokenizer, {name: COMPRESSIONS[compression](data)}, block_bytes=block)
    read_lines(data).agrees(accounts)


@PROPERTY
@given(
    st.lists(
        st.one_of(st.text(max_size=30).map(str.encode), st.binary(max_size=30), st.just(b"y " * LIMIT)), max_size=12
    ),
    st.sampled_from(list(COMPRESSIONS)), st.booleans(),
)  # fmt: skip
def test_text_lines(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Path, pieces: list[bytes], compression: str, final: bool
) -> None:
    """text_documents: line. A line that is not UTF-8, holds NUL, begins with a mark or is too long is bad."""
    data = b"\n".join([*pieces, b"certainly good"]) + (b"\n" if final else b"")
    count = Count()
    for line in data.split(b"\n"):
        if line.strip():
            try:
                text = None if len(line) > LIMIT or b"\0" in line or line[:3] == b"\xef\xbb\xbf" else line.decode()
            except UnicodeDecodeError:
                text = None
            count.add(line, text)
    files = {f"in.txt{compression}": COMPRESSIONS[compression](data)}
    count.agrees(run(tmp_path_factory.mktemp("d"), tokenizer, files, text_documents="line", block_bytes=64))


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 2**40), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "a", ""]), inner, max_size=3),
    max_leaves=6,
)


@PROPERTY
@given(
    st.lists(st.one_of(VALUES, st.text(max_size=40).map(lambda text: {"text": text})), max_size=15),
    st.sampled_from(list(COMPRESSIONS)), st.sampled_from([None, 1]),
)  # fmt: skip
def test_json_arrays(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Path, values: list[Any], compression: str, indent: int | None
) -> None:
    values = [*values, json.loads(GOOD)]
    count = Count(bad_bytes=-1)  # where an element's raw bytes end is the source's own business
    for value in values:
        count.texts += [text] if (text := read_json(json.dumps(value).encode())) is not None else []
    count.bad = len(values) - len(count.texts)
    data = json.dumps(values, indent=indent).encode()
    files = {f"in.json{compression}": COMPRESSIONS[compression](data)}
    count.agrees(run(tmp_path_factory.mktemp("d"), tokenizer, files))


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff\r"), max_size=20)


@PROPERTY
@given(
    st.lists(st.tuples(CELL, CELL), max_size=12), st.sampled_from(list(COMPRESSIONS)), st.sampled_from(["\n", "\r\n"])
)
def test_csv(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Path, rows: list[tuple[str, str]], compression: str, end: str
) -> None:
    """Written by Python's csv module and read back by it: quotes, commas and line feeds inside fields."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=end)
    writer.writerows([("id", "text"), *rows, ("1", "certainly good")])
    buffer.seek(0)
    count = Count([row["text"] for row in csv.DictReader(buffer)])
    files = {f"in.csv{compression}": COMPRESSIONS[compression](buffer.getvalue().encode())}
    count.agrees(run(tmp_path_factory.mktemp("d"), tokenizer, files))


@PROPERTY
@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=20), st.integers(1, 7))
def test_parquet(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Path, texts: list[str | None], group: int
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [*texts, "certainly good"]
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({"id": list(range(len(texts))), "text": pa.array(texts, pa.string())}), buffer, row_group_size=group
    )
    count = Count([text for text in texts if text is not None], texts.count(None), -1)
    count.agrees(run(tmp_path_factory.mktemp("d"), tokenizer, {"in.parquet": buffer.getvalue()}))
