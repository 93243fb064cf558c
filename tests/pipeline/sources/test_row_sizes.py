"""Batches of tables are cut by what their rows come to, also where a file holds a repeated text once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources import row_sizes
from pipeline.sources.base import Batch, Limits
from pipeline.sources.registry import source_for
from pipeline.sources.row_sizes import evenly
from tests.pipeline.sources.reading import read


def batches_of(path: Path) -> list[Batch]:
    [task] = read(path).tasks
    return list(source_for(task.path, task.options).open(task, Limits(10**7, 10**7)))


@pytest.mark.parametrize("form", ["parquet", "arrow", "nested.parquet", "nested.arrow"])
def test_repeated_texts_are_no_larger_in_memory_than_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A dictionary holds the text once, and each row a number."""
    monkeypatch.setattr(row_sizes, "BATCH_BYTES", 10**5)
    path = tmp_path / f"a.{form.rpartition('.')[2]}"
    texts = pa.array(["x" * 4000, "y"]).take(pa.array([n % 100 == 99 for n in range(1000)]).cast(pa.int8()))
    column: Any = texts if form == "parquet" else texts.dictionary_encode()
    if form.startswith("nested"):
        messages = pa.StructArray.from_arrays([pa.array(["user"] * 1000), column], ["role", "content"])
        column = pa.ListArray.from_arrays(pa.array(range(1001), pa.int32()), messages)
    table = pa.table({"messages" if form.startswith("nested") else "text": column})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with path.open("wb") as out, pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    assert path.stat().st_size < 50_000
    batches = batches_of(path)
    assert [text for batch in batches for text in batch.texts] == [t.encode() for t in texts.to_pylist()]
    assert [offset for batch in batches for offset in batch.offsets] == list(range(1000))
    assert len(batches) >= 35 and max(sum(map(len, batch.texts)) for batch in batches) <= 10**5 + 4000


def test_few_rows_are_read_at_once_where_a_dictionary_may_repeat_a_long_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    long = "x" * 3_000_000
    pq.write_table(pa.table({"text": [*["short"] * 500, *[long] * 100], "messages": [None] * 600}), path)
    [task] = read(path, max_samples=1).tasks
    reading: Any = source_for(task.path, task.options).open(task, Limits(10**7, 10**7))
    with path.open("rb") as raw:
        parts = [part for _, part in reading.record_batches(raw)]
    assert sum(part.num_rows for part in parts) == 600 and max(part.nbytes for part in parts) <= 64 << 20


ROW = st.tuples(
    st.none() | st.sampled_from(["", "x" * 40, "世界", "y" * 99]),
    st.none() | st.lists(st.fixed_dictionaries({"c": st.none() | st.sampled_from(["", "z" * 60])}), max_size=3),
    st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=60), st.lists(st.integers(0, 20), max_size=10), st.booleans())
def test_tables_are_even_whatever_parts_rows_come_in(rows: list[Any], cuts: list[int], encoded: bool) -> None:
    texts = pa.array([text for text, _, _ in rows], pa.string())
    lists = pa.array([items for _, items, _ in rows], pa.list_(pa.struct([("c", pa.string())])))
    columns = {"t": texts.dictionary_encode() if encoded else texts, "l": lists, "n": [n for _, _, n in rows]}
    batch = pa.RecordBatch.from_pydict(columns)

    def size(row: Any) -> int:
        text, items, _ = row
        inner = sum(4 + len(item["c"] or "") for item in items or [])
        return 16 + 4 + len((text or "").encode()) + 8 + inner + 8

    wanted, left = [0], 300
    for place, row in enumerate(rows):
        left -= size(row)
        if left <= 0:
            wanted.append(place + 1)
            left = 300
    if wanted[-1] < len(rows):
        wanted.append(len(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sizes, "BATCH_BYTES", 300)
        borders = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
        parts = [(5 + a, batch.slice(a, b - a)) for a, b in pairwise(borders)]
        tables = list(evenly(iter(parts)))
    assert [first - 5 for first, _ in tables] == wanted[:-1]
    assert [row for _, table in tables for row in table.to_pylist()] == batch.to_pylist()
