"""CSV against Python's csv module; cut anywhere it gives the same rows; every bad row is found."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sources.base import Limits
from pipeline.sources.registry import source_for
from tests.pipeline.sources.reading import read

FIELD = st.lists(st.sampled_from([*'ab,"\n;\t 世', "\r\n"]), max_size=8).map("".join)


def written(rows: list[list[str]], delimiter: str = ",", ending: str = "\n", quoting: Any = csv.QUOTE_MINIMAL) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=quoting).writerows(rows)
    return out.getvalue().encode()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(FIELD, FIELD, st.integers(0, 9)), max_size=25),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.integers(64, 150),
)
def test_rows_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]], ending: str, quoting: int, block: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    header = [["id", "text", "label"]]
    data = written(header + [[a, b, str(c)] for a, b, c in rows], ending=ending, quoting=quoting)
    path.write_bytes(data)
    whole, cut = read(path), read(path, block_bytes=block)
    assert whole.texts == [b for _, b, _ in rows] and whole.labels == [c for _, _, c in rows]
    assert not whole.bad and whole.documents == cut.documents
    starts = [d.offset for d in whole.documents]
    assert [d.line for d in whole.documents] == [data[:start].count(b"\n") + 1 for start in starts]
    for start, (a, b, c) in zip(starts, rows, strict=True):
        assert data[start:].startswith(written([[a, b, str(c)]], ending=ending, quoting=quoting))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from(list('a,"\n')), max_size=60), st.integers(64, 90))
def test_any_text_is_read_as_the_csv_module_reads_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int
) -> None:
    """As long as the module has nothing to complain about; and cut or not, the same."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    data = "text,b\n" + "x,y\n" * 15 + text + "\nz,z\n" + text
    path.write_text(data)
    whole, cut = read(path), read(path, block_bytes=block)
    assert whole.documents == cut.documents
    assert [(line, bad[0], *bad[2:]) for _, line, bad in whole.bad] == [
        (line, bad[0], *bad[2:]) for _, line, bad in cut.bad
    ]
    try:
        rows = [row for row in csv.reader(io.StringIO(data, newline=""), strict=True) if row][1:]
    except csv.Error:
        assert "invalid_csv" in whole.reasons
        return
    assert whole.texts == [row[0] for row in rows if len(row) == 2]
    assert whole.reasons == ["wrong_number_of_fields" for row in rows if len(row) != 2]


def test_a_long_file_is_cut_inside(tmp_path: Path) -> None:
    chance = random.Random(5)
    rows = [["text", "n"]] + [['say "hi",\n' * chance.randrange(9) + f"row {n}", str(n)] for n in range(2000)]
    path = tmp_path / "a.csv"
    path.write_bytes(written(rows))
    found = read(path, block_bytes=4000)
    assert len(found.tasks) > 20 and found.texts == [text for text, _ in rows[1:]]
    # A quote where RFC 4180 allows none makes quotes useless for finding rows: such a file is one piece.
    path.write_bytes(written([*rows[:5]]) + b'a 5" disk,7\n' + written(rows[5:]))
    found = read(path, block_bytes=4000)
    assert len(found.tasks) == 1 and found.texts == [t for t, _ in rows[1:5]] + ['a 5" disk'] + [t for t, _ in rows[5:]]


def test_tabs_other_delimiters_no_quotes_no_header(tmp_path: Path) -> None:
    rows = [["label", "text"], ["1", "a, b"], ["0", "x\ty"]]
    (tmp_path / "a.tsv").write_bytes(written(rows, "\t"))
    (tmp_path / "b.csv").write_bytes(written(rows, ";"))
    (tmp_path / "c.tsv").write_bytes(b'text\tlabel\n"so" it goes\t1\n"\t0\n')
    (tmp_path / "d.csv").write_bytes(b"first,1\nsecond,0\n")
    assert read(tmp_path / "a.tsv").texts == ["a, b", "x\ty"]
    assert read(tmp_path / "b.csv", csv_delimiter=";").labels == [1, 0]
    found = read(tmp_path / "c.tsv", csv_quotes=False)
    assert found.texts == ['"so" it goes', '"'] and found.labels == [1, 0]
    found = read(tmp_path / "d.csv", csv_header=False, text_field="0", label_field="1")
    assert found.texts == ["first", "second"] and found.labels == [1, 0]


def test_every_bad_row_is_quarantined(tmp_path: Path) -> None:
    bad = {
        b"too,many,fields": "wrong_number_of_fields",
        b"few": "wrong_number_of_fields",
        b'"closed"too early,1': "invalid_csv",
        b"caf\xe9,1": "invalid_utf8",
        b"n\0l,1": "nul_byte",
        b"x" * 300 + b",1": "record_too_large",
        b"fine,positive": "unknown_label",
    }
    good = [f"good {n},{n}".encode() for n in range(len(bad) + 1)]
    lines = [b"text,label", good[0]]
    for row, follow in zip(bad, good[1:], strict=True):
        lines += [row, b"", follow]
    data = b"\n".join(lines) + b'\n"never closed,1\nlast,9\n'
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    for block in (64, 10**6):
        found = read(path, max_record_bytes=250, block_bytes=block)
        assert found.texts == [f"good {n}" for n in range(len(good))] + ["last"]
        assert found.reasons == [*bad.values(), "invalid_csv"]
        for (_, line, record), raw in zip(found.bad, [*bad, b'"never closed,1'], strict=True):
            assert data[record.offset :].startswith(record.raw) and raw.startswith(record.raw)
            assert record.size == len(raw) and data[: record.offset].count(b"\n") + 1 == line


def test_bad_rows_fill_batches_as_good_ones_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.csv_rows.CHUNK", 1000)
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\n" + b'"closed"too early\n' * 500)
    [task] = read(path).tasks
    batches = list(source_for(task.path, task.options).open(task, Limits(10**6, 10**6)))
    assert sum(batch.records for batch in batches) == 500 and max(batch.records for batch in batches) < 100


def test_an_unclosed_quote_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\n"open\n' + b"".join(b"row %d\n" % n for n in range(5000)))
    found = read(path, max_record_bytes=1000)
    assert found.texts == [f"row {n}" for n in range(5000)] and found.reasons == ["unclosed_quote"]


def test_a_mark_before_the_header_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\nx,1\r\n")
    assert read(path).texts == ["x"]
    path.write_bytes(
        b"\xef\xbb\xbf" + written([["text", "label"], *([f"row {n}", "1"] for n in range(40))], quoting=csv.QUOTE_ALL)
    )
    found = read(path, block_bytes=64)
    assert found.texts == [f"row {n}" for n in range(40)] and len(found.tasks) > 5
    path.write_bytes(b"\xef\xbb\xbftext,label\r\nx,1\r\n")
    found = read(path, text_field="body")
    assert found.reasons == ["missing_text_field"] and "'text', 'label'" in found.bad[0][2].detail
