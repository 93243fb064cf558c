"""Parquet files and Arrow directories that pyarrow and Hugging Face datasets wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.base import InputChanged, Limits, Piece
from pipeline.sources.files import identify
from pipeline.sources.registry import source_for
from tests.pipeline.sources.reading import read

ROWS = 137
TEXTS = [f"text {n} 世界 " + "word " * (n % 11) for n in range(ROWS)]
LABELS = [n % 3 for n in range(ROWS)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary()])
@pytest.mark.parametrize("block", [64, 3000, 10**7])
def test_parquet_row_groups(tmp_path: Path, kind: Any, block: int) -> None:
    texts = pa.array([t.encode() for t in TEXTS], kind) if kind == pa.binary() else pa.array(TEXTS).cast(kind)
    table = pa.table({"junk": [os.urandom(50) for _ in TEXTS], "text": texts, "label": pa.array(LABELS, pa.int8())})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10)
    found = read(tmp_path / "a.parquet", block_bytes=block)
    assert found.texts == TEXTS and found.labels == LABELS and not found.bad
    assert [d.offset for d in found.documents] == list(range(ROWS)) == [d.line - 1 for d in found.documents]
    assert (len(found.tasks) == 14) == (block == 64) and (len(found.tasks) == 1) == (block == 10**7)
    assert sum(task.bytes for task in found.tasks) <= (tmp_path / "a.parquet").stat().st_size


def test_rows_that_give_no_text_are_quarantined(tmp_path: Path) -> None:
    raw = pa.array([b"fine", None, b"caf\xe9", b"x" * 500, "世界".encode()], pa.binary())
    not_checked = pa.StringArray.from_buffers(5, *raw.buffers()[1:], raw.buffers()[0])
    pq.write_table(pa.table({"text": not_checked, "label": [0, 1, 2, 3, None]}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", max_record_bytes=400)
    assert found.texts == ["fine", "世界"] and found.labels == [0, -1]
    assert [(bad.offset, line, bad.reason) for _, line, bad in found.bad] == [
        (1, 2, "text_not_a_string"), (2, 3, "text_not_a_string"), (3, 4, "record_too_large")
    ]  # fmt: skip
    assert json.loads(found.bad[0][2].raw) == {"text": None, "label": 1}
    pq.write_table(pa.table({"body": ["a"], "n": [[1, 2]]}), tmp_path / "b.parquet")
    [(_, _, bad)] = read(tmp_path / "b.parquet").bad
    assert bad.reason == "missing_text_field" and "body, n" in bad.detail


def test_templates_and_chats_in_columns(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": f"no {n}"}] for n in range(5)]
    table = pa.table({"title": list("abcde"), "year": [1, 2, 3, None, 5], "messages": chats})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    found = read(tmp_path / "a.parquet", text_template="{title} ({year}) {{}}")
    assert found.texts == ["a (1) {}", "b (2) {}", "c (3) {}", "e (5) {}"] and found.reasons == ["text_not_a_string"]
    found = read(tmp_path / "a.parquet")
    assert found.documents[4].conversation == (("user", b"hi"), ("assistant", b"no 4"))
    assert found.texts[0] == "hi\nno 0"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_chat_that_is_not_utf8_is_quarantined_alone(tmp_path: Path, kind: Any) -> None:
    raw = pa.array([b"hi", b"caf\xe9", None, "世界".encode()], pa.large_binary() if kind == pa.large_string() else None)
    contents = type(pa.array([], kind)).from_buffers(4, *raw.buffers()[1:], raw.buffers()[0])
    messages = pa.StructArray.from_arrays([pa.array(["user"] * 4), contents], ["role", "content"])
    chats = pa.ListArray.from_arrays(pa.array([0, 1, 3, 3, 4], pa.int32()), messages)
    pq.write_table(pa.table({"messages": chats}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert found.texts == ["hi", "世界"] and found.reasons == ["invalid_utf8", "no_messages"]
    [(_, line, bad), _] = found.bad
    assert (bad.offset, line) == (1, 2) and "'messages'" in bad.detail and rb"caf\\xe9" in bad.raw


def test_damaged_and_empty_parquet_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet", row_group_size=40, compression="snappy")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "c.parquet").write_bytes(b"")
    (tmp_path / "d.parquet").write_bytes(data[:4] + b"\xff" * 60 + data[64:])
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "e.parquet")
    found = read(tmp_path)
    by_file = {name: sum(d.source == name for d in found.documents) for name in sorted(os.listdir(tmp_path))}
    assert by_file == {"a.parquet": ROWS, "b.parquet": 0, "c.parquet": 0, "d.parquet": 0, "e.parquet": 0}
    assert sorted(found.damage) == ["b.parquet", "d.parquet"]
    assert [(name, bad.reason) for name, _, bad in found.bad] == [
        ("b.parquet", "damaged_file"), ("d.parquet", "damaged_file")
    ]  # fmt: skip


def test_memory_that_runs_out_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> Any:
        raise pa.ArrowMemoryError("malloc of size 10 failed")

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS}), path)
    [task], [file] = (found := read(path)).tasks, found.inputs
    source, limits = source_for(task.path, task.options), Limits(10**6, 10**6)
    monkeypatch.setattr("pipeline.sources.parquet._parquet", no_memory)
    with pytest.raises(MemoryError):
        list(source.open(task, limits))
    os.utime(path, ns=(1, 1))  # the footer of this one is not known yet
    with pytest.raises(MemoryError):
        source.plan(file, identify(str(path)), limits)


def test_the_digest_is_of_what_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS, "label": LABELS}), tmp_path / "a.parquet", compression="zstd")
    pq.write_table(pa.table({"label": LABELS, "text": TEXTS, "x": LABELS}), tmp_path / "b.parquet", compression="none")
    pq.write_table(pa.table({"text": [*TEXTS[:-1], "other"], "label": LABELS}), tmp_path / "c.parquet")
    digests = read(tmp_path).digests
    assert digests["a.parquet"] == digests["b.parquet"] != digests["c.parquet"]


def test_counts_in_the_metadata_make_a_first_part_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        pq.write_table(pa.table({"text": TEXTS}), tmp_path / f"{name}.parquet", row_group_size=50)
    planned: list[list[Piece]] = []
    source = type(source_for("", read(tmp_path).inputs[0].options))
    plan = source.plan

    def plan_and_note(*given: Any) -> list[Piece]:
        planned.append(plan(*given))
        return planned[-1]

    monkeypatch.setattr(source, "plan", plan_and_note)
    monkeypatch.setattr("pipeline.plan._count", lambda *_: pytest.fail("read to count"))
    for limit in (1, 49, 50, 51, 137, 138, 200):
        planned.clear()
        found = read(tmp_path, max_samples=limit, block_bytes=64)
        assert found.texts == [*TEXTS, *TEXTS][:limit]
        assert len(planned) == 1 + (limit > 137)


def save(folder: Path, count: int = ROWS) -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({
        "text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good", "odd"]),
        "n": datasets.Sequence(datasets.Value("int32")),
    })  # fmt: skip
    rows = {"text": TEXTS[:count], "label": LABELS[:count], "n": [[n, n] for n in range(count)]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset.save_to_disk(str(folder), num_shards=2)
    return dataset


def test_what_save_to_disk_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "DEFAULT_MAX_BATCH_SIZE", 7)
    save(tmp_path / "d")
    for block in (64, 1500, 10**7):
        found = read(tmp_path / "d", block_bytes=block)
        assert found.texts == TEXTS and found.labels == LABELS
        assert [file.name for file in found.inputs] == ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
        assert found.inputs[0].options.labels == ("bad", "good", "odd")
        first = [d for d in found.documents if d.source == found.inputs[1].name]
        assert [d.offset for d in first] == list(range(len(first))) == [d.line - 1 for d in first]
        assert (len(found.tasks) > 10) == (block == 64)
    assert read(tmp_path / "d", max_samples=100).texts == TEXTS[:100]
    path = tmp_path / "d" / "data-00000-of-00002.arrow"
    path.write_bytes(path.read_bytes()[:-700])
    found = read(tmp_path / "d")
    assert "data-00000-of-00002.arrow" in found.damage and set(found.texts) < set(TEXTS) and len(found.texts) > 100


def test_dictionaries_of_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    one = save(tmp_path / "x", 5)
    datasets.DatasetDict({"train": one, "validation": one, "test": one, "more": one}).save_to_disk(str(tmp_path / "d"))
    found = read(tmp_path / "d")
    splits = {file.name.split("/")[0]: file.options.split for file in found.inputs}
    assert splits == {"train": None, "validation": "val", "test": "test", "more": None} and len(found.texts) == 20
    [file] = read([{"path": str(tmp_path / "d" / "test"), "split": "train"}]).inputs
    assert file.options.split == "train" and file.name == "data-00000-of-00001.arrow"


def test_changed_while_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS * 300}), path, row_group_size=1000)
    task = read(path).tasks[0]
    reading = iter(source_for(task.path, task.options).open(task, Limits(10**6, 10**6)))
    next(reading)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputChanged):
        list(reading)
    with pytest.raises(InputChanged):
        list(source_for(task.path, task.options).open(task, Limits(10**6, 10**6)))
