"""Lines parsed together are the lines parsed one by one; lines cut from a stream are those of the whole text."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources import jsonl
from pipeline.sources.base import KEPT_OF_OVERSIZE, Batch, InputOptions
from pipeline.sources.jsonl import JsonLinesSource
from pipeline.sources.line_splitter import LineRun, LineSplitter
from pipeline.sources.records import Extractor

OPTIONS = InputOptions(text_field="text", label_field="label")
GOOD = [
    b'{"text": "a"}',
    b'{"text": "\xc3\xa9 \\u00e9 \\n", "label": 1}',
    b' {"label": 7, "text": ""}\r',
    b'{"text":"a","x":[{}]}',
]
ODD = [
    b"",
    b" ",
    b"\xef\xbb\xbf{}",
    b'{"text": "\\ud800"}',
    b'{"text": "\xff"}',
    b'{"text": 1}',
    b'{"label": 1}',
    b"[]",
    b"1",
    b"null",
    b'{"text": "a"},{"text": "b"}',
    b'{"text": "a"}]',
    b'[{"text": "a"}',
    b"1],[2",
    b'{"text": "a", "y": [1',
    b"2]}",
    b'{"text":"a","y":[{}',
    b"{}]}",
    b'{"text": "',
    b'"}',
    b'{"text": "a", "label": null}',
    b'{"text": "a", "label": -1}',
    b'{"text": "a", "label": -2}',
    b'{"text": "a", "label": 1.0}',
    b'{"text": "a", "label": true}',
    b'{"text": "a", "label": "1"}',
    b'{"text": "a", "label": 2147483648}',
    b'{"text": NaN}',
    b'{"text": "a", "text": "b"}',
    b'{"text": "a"} {"text": "b"}',
    b'{"messages": [{"role": "user", "content": "x"}]}',
    b"%d" % jsonl._MARK,
    b',"x"',
    b'{"text": "a"},"x"',
    b"[" * 2000,
    b'{"text": ' + b"[" * 1023,
]


def one_by_one(run: LineRun) -> Batch:
    return JsonLinesSource().batch(run.each(), OPTIONS, Extractor(OPTIONS))


def together(run: LineRun) -> Batch | None:
    return jsonl._whole(run, OPTIONS, Extractor(OPTIONS))


@given(st.lists(st.sampled_from(GOOD + ODD), min_size=1, max_size=6), st.integers(0, 9))
@settings(max_examples=2000)
def test_lines_parsed_together(lines: list[bytes], offset: int) -> None:
    run = LineRun(offset, 3, lines, {})
    if (batch := together(run)) is not None:
        assert batch == one_by_one(run)


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=6))
def test_common_lines_do_go_together(lines: list[bytes]) -> None:
    run = LineRun(5, 2, lines, {})
    batch = together(run)
    assert batch is not None and batch == one_by_one(run)
    assert batch.texts == [orjson.loads(line)["text"].encode() for line in lines]
    assert batch.offsets == [5 + sum(len(line) + 1 for line in lines[:place]) for place in range(len(lines))]


@pytest.mark.parametrize(("opening", "closing"), [(b"[1", b"2]}"), (b"[{}", b"{}]}"), (b"[[2", b"3]]}")])
def test_a_line_cannot_hide_in_another(opening: bytes, closing: bytes) -> None:
    """One line opens what the next one closes, and a third makes up for the number of values."""
    for extra in (b'{"text": "b"},{"text": "c"}', b'{"text": "b"},7,{"text": "c"}'):
        run = LineRun(0, 0, [b'{"text": "a", "y": ' + opening, closing, extra], {})
        assert orjson.loads(b"[" + b",".join(run.lines) + b"]")  # by itself the array looks right
        assert together(run) is None
        assert len(one_by_one(run).bad) == 3


@given(
    st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"x", b"\n")), max_size=8),
    st.integers(1, 20),
    st.booleans(),
)
def test_lines_of_a_stream(chunks: list[bytes], limit: int, skip: bool) -> None:
    splitter = LineSplitter(7, limit, skip_first=skip)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()
    whole, offset = b"".join(chunks), 7
    expected = []
    for number, data in enumerate(whole.split(b"\n")):
        last = offset + len(data) == 7 + len(whole)
        if not (skip and number == 0) and not (last and not data):
            kept = data if len(data) <= limit else data[: min(KEPT_OF_OVERSIZE, limit)]
            expected.append((offset, number, kept, len(data)))
        offset += len(data) + 1
    assert [tuple(line) for line in lines] == expected
