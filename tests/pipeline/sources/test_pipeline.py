"""Every format through the whole pipeline: equal documents come out equal, and the accounts of dirty files close."""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.process import process
from shards.dataset import Dataset

TEXTS = [f"document {n}, «世界»\nand {'words ' * (n % 7)}end" for n in range(83)]
LABELS = [n % 2 for n in range(83)]


def config(tmp_path: Path, tokenizer: Path, inputs: list[Any], **more: Any) -> PipelineConfig:
    given = {"output": tmp_path / "out" / "x", "tokenizer": str(tokenizer), "workers": 1, "val_fraction": 0.0, **more}
    return PipelineConfig(input=[str(i) if isinstance(i, Path) else i for i in inputs], **given)


def write_all(folder: Path) -> dict[str, Any]:
    """One set of documents in every format: name -> what to give as input."""
    folder.mkdir()
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    compressors: dict[str, Any] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    for suffix, compress in {**compressors, ".zst": zstandard.ZstdCompressor().compress}.items():
        (folder / f"a.jsonl{suffix}").write_bytes(compress(lines))
    (folder / "a.json").write_text(json.dumps(rows, indent=1))
    (folder / "a.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    for name, dialect in (("a.csv", "excel"), ("a.tsv", "excel-tab")):
        with (folder / name).open("w", newline="") as out:
            csv.writer(out, dialect).writerows([["label", "text"], *([row["label"], row["text"]] for row in rows)])
    table = pa.table({"label": LABELS, "text": TEXTS})
    pq.write_table(table, folder / "a.parquet", row_group_size=9)
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=9)
    (folder / "a.txt").write_text("<|end|>".join(TEXTS))
    for n, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        place = folder / "classes" / ("neg", "pos")[label] / f"{n:03}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    inputs = {path.name: path for path in sorted(folder.iterdir())}
    return {**inputs, "a.txt": {"path": str(folder / "a.txt"), "text_separator": "<|end|>"}}


def test_equal_documents_in_every_format_come_out_equal(tmp_path: Path, tokenizer: Path) -> None:
    inputs = write_all(tmp_path / "in")
    setup = config(tmp_path, tokenizer, list(inputs.values()), exact_dedup=False, block_bytes=1000)
    manifest = process(setup).manifest
    assert manifest is not None
    names = [entry.name for entry in manifest.inputs]
    assert len(names) == len(inputs) + 1  # two class directories
    dataset = Dataset.open(setup.output)
    records = np.concatenate([shard.records for shard in dataset.shards])
    by_source = {name: records[records["source"] == number] for number, name in enumerate(names)}
    wanted = by_source["a.jsonl"]["content_hash"].tolist()
    assert len(set(wanted)) == len(TEXTS)
    for name, found in by_source.items():
        if name in ("neg", "pos"):
            continue
        assert found["content_hash"].tolist() == wanted, name
        assert found["label"].tolist() == ([-1] * 83 if name == "a.txt" else LABELS), name
    for label, name in enumerate(("neg", "pos")):
        assert by_source[name]["content_hash"].tolist() == wanted[label::2] and set(by_source[name]["label"]) == {label}
    entries = {entry.name: entry for entry in manifest.inputs}
    assert entries["a.parquet"].fingerprint != entries["a.jsonl"].fingerprint
    assert entries["a.parquet"].pieces == "row groups" and entries["pos"].options["labels"] == ["neg", "pos"]


def dirty(folder: Path) -> int:
    """Files of every kind with every fault; the number of records in them."""
    folder.mkdir()
    good = b'{"text": "good"}'
    lines = [
        good,
        b'{"text": 1}',
        b"",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"text": "x"}',
        good,
        b"[" * 999,
        b'{"text": "a\x00"}',
    ]
    (folder / "a.jsonl").write_bytes(b"\r\n".join(lines))
    (folder / "b.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(b" " * 10**7 + b"\n" + good))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(b"\n".join([good] * 7) + b"\n")[:-6])
    (folder / "d.jsonl.xz").write_bytes(b"")
    (folder / "e.json").write_bytes(b"[" + b",\n".join([good, b'{"text": nul}', good, b"7"]) + b"]")
    (folder / "f.csv").write_bytes(b'text,label\nfine,1\n"open,2\nfew\n\nsome,cat\nlast,3\n')
    pq.write_table(pa.table({"text": ["p", None, "q"], "label": [1, 2, None]}), folder / "g.parquet")
    (folder / "h.parquet").write_bytes(b"PAR1 nothing PAR1")
    (folder / "i.txt").write_bytes(b"caf\xe9\n\nfine too\n\n\0")
    for kind in ("neg", "pos"):
        (folder / "j" / kind).mkdir(parents=True)
        (folder / "j" / kind / "1.txt").write_bytes(kind.encode() * 1000)
        (folder / "j" / kind / "2.txt").write_bytes(b"\xff")
    return 7 + 2 + 7 + 4 + 5 + 3 + 1 + 3 + 4


def test_the_accounts_of_dirty_files_close(tmp_path: Path, tokenizer: Path) -> None:
    records = dirty(tmp_path / "in")
    inputs = [path for path in sorted((tmp_path / "in").iterdir())]
    setup = config(tmp_path, tokenizer, inputs, max_bad_fraction=1.0, max_record_bytes=5000, block_bytes=64)
    process(setup)
    statistics = json.loads((setup.output / "stats.json").read_text())
    accounts = statistics["accounts"]
    parts = [accounts[name] for name in ("kept", "duplicate", "rejected", "quarantined")]
    assert accounts["read"]["records"] == records == sum(part["records"] for part in parts)
    assert accounts["read"]["bytes"] == sum(part["bytes"] for part in parts)
    assert sorted(statistics["damaged_inputs"]) == ["c.jsonl.gz", "h.parquet"]
    rows = [json.loads(line) for line in (setup.output / "quarantine" / "records.jsonl").read_text().splitlines()]
    assert len(rows) == accounts["quarantined"]["records"] == 17
    for row in rows:
        raw = base64.b64decode(row["raw_base64"])
        path = tmp_path / "in" / row["source"]
        assert row["reason"] and row["line"] >= 1 and len(raw) <= 5000
        if path.suffix in (".jsonl", ".json", ".csv", ".txt"):
            data = path.read_bytes()
            assert data[row["offset"] :].startswith(raw) and data[: row["offset"]].count(b"\n") + 1 == row["line"]


@pytest.mark.parametrize(
    ("data", "way_out"),
    [
        (b"text,label\na,cat\n", "--labels.*--label_field null"),
        (b"text;label\na;1\nb,c;1\n", "--text_field.*--csv_delimiter"),
        (b'text\n"so" it goes\n', "--csv_quotes false"),
    ],
)
def test_many_bad_records_come_with_a_way_out(tmp_path: Path, tokenizer: Path, data: bytes, way_out: str) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(UserError, match=way_out):
        process(config(tmp_path, tokenizer, [tmp_path / "a.csv"]))


def test_one_bad_record_with_most_of_the_bytes_stops_the_run(tmp_path: Path, tokenizer: Path) -> None:
    """A missing bracket: to a JSON parser, all that follows stands inside of the element."""
    elements = [json.dumps({"text": text}) for text in TEXTS]
    elements[50] = elements[50][:-1]
    path = tmp_path / "a.json"
    path.write_text("[" + ",".join(elements) + "]")
    setup = config(tmp_path, tokenizer, [path], max_bad_fraction=0.1)
    with pytest.raises(UserError, match=rf"1 records with \d+ of the {path.stat().st_size} bytes.*1 invalid_json"):
        process(setup)
    assert not (setup.output / "manifest.json").exists()
    process(setup.model_copy(update={"max_bad_fraction": 0.5}), resume=True)
    statistics = json.loads((setup.output / "stats.json").read_text())
    assert statistics["accounts"]["read"]["records"] == 51


def test_a_new_file_is_the_only_one_that_is_read_again(tmp_path: Path, tokenizer: Path) -> None:
    for n in range(5):
        pq.write_table(pa.table({"text": [f"{n} {text}" for text in TEXTS]}), tmp_path / f"{n}.parquet")
    setup = config(tmp_path, tokenizer, [tmp_path / "*.parquet"])
    process(setup)
    [parts] = (tmp_path / "out" / ".work").glob("*/parts")
    before = {path.name for path in parts.iterdir()}
    pq.write_table(pa.table({"text": ["new"]}), tmp_path / "2a.parquet")
    assert process(setup, resume=True).changed
    assert len(before) == 5 and len({path.name for path in parts.iterdir()} - before) == 1
