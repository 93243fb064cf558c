"""JSON arrays: the splitter finds what `json.loads` finds, however the stream is cut; bad elements stay alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.array_splitter import ArraySplitter, Element
from tests.pipeline.sources.reading import read

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
    | st.text('"\\[]{},\n ', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def split(data: bytes, sizes: list[int], limit: int = 10**6) -> tuple[list[Element], bool]:
    splitter, found, place = ArraySplitter(limit), [], 0
    for size in [*sizes, len(data)]:
        found += splitter.feed(data[place : place + size])
        place += size
    return found + splitter.finish(), splitter.closed


@settings(max_examples=300, deadline=None)
@given(
    st.lists(VALUES, max_size=6),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.sampled_from(["", " \n\t", "\r\n"]),
    st.lists(st.integers(0, 9), max_size=40),
)
def test_elements_are_those_of_a_json_parser(
    values: list[Any], indent: int | None, ascii_only: bool, space: str, sizes: list[int]
) -> None:
    text = f"{space}{json.dumps(values, indent=indent, ensure_ascii=ascii_only)}{space}"
    data = text.encode("utf-8", "surrogatepass")
    found, closed = split(data, sizes)
    assert closed and [fault for _, fault in found] == [None] * len(values)
    assert [json.loads(line.data) for line, _ in found] == values
    for line, _ in found:
        assert data[line.offset :].startswith(line.data) and line.size == len(line.data)
        assert data[: line.offset].count(b"\n") == line.number


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60) | st.text('[]{}",\\ \na', max_size=60).map(str.encode),
    st.lists(st.integers(0, 5), max_size=60),
)
def test_any_bytes_are_cut_alike_in_any_chunks(data: bytes, sizes: list[int]) -> None:
    def plain(found: list[Element]) -> list[Any]:
        return [(element.line, str(element.fault)) for element in found]

    data = b"[" + data
    whole, closed = split(data, [])
    again, closed_again = split(data, sizes)
    assert plain(again) == plain(whole) and closed == closed_again


def test_bad_elements_are_quarantined_and_the_others_read(tmp_path: Path) -> None:
    good = [json.dumps({"text": f'document [{n}], "{n}"', "label": n}) for n in range(5)]
    bad = {
        '{"text": 1}': "text_not_a_string", "17": "not_an_object", '{"body": "x"}': "missing_text_field",
        '{"text": "no end quote}': "invalid_json", '{"text": nul}': "invalid_json",
        '["nested", {"text": "x"}]': "not_an_object",
    }  # fmt: skip
    elements = [element for pair in zip(good, [*bad][:5], strict=True) for element in pair] + [[*bad][5]]
    data = ("[\n" + ",\n".join(elements) + "\n]\n").encode()
    path = tmp_path / "a.json"
    path.write_bytes(data)
    found = read(path)
    assert found.texts == [json.loads(element)["text"] for element in good] and found.labels == list(range(5))
    assert found.reasons == list(bad.values())
    for _, line, record in found.bad:
        assert data[record.offset :].startswith(record.raw) and data[: record.offset].count(b"\n") + 1 == line


def test_empty_places_ends_and_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for data, texts, reasons, damage in (
        (b'[{"text": "a"},, {"text": "b"},]', ["a", "b"], ["invalid_json"] * 2, False),
        (b'[{"text": "a"}] x [1]', ["a"], ["invalid_json"], False),
        (b'[{"text": "a"}, {"text": "b"}', ["a", "b"], [], True),
        (b'[{"text": "a"}, {"te', ["a"], ["invalid_json"], True),
        (b'\xef\xbb\xbf[{"text": "a"}]', ["a"], ["byte_order_mark"], False),
        (b" [ ] ", [], [], False),
        (b" \n ", [], [], False),
        (b"[" * 3000 + b"]" * 3000, [], ["invalid_json"], False),
    ):
        path.write_bytes(data)
        found = read(path)
        assert (found.texts, found.reasons, bool(found.damage)) == (texts, reasons, damage), data


def test_an_element_beyond_the_limit_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b'[{"text": "' + b"x" * 3_000_000 + b'"}, {"text": "after"}]'))
    found = read(path, max_record_bytes=5000)
    assert found.texts == ["after"]
    [(_, _, bad)] = found.bad
    assert bad.reason == "record_too_large" and bad.size == 3_000_012 and len(bad.raw) == 4096


def test_a_small_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"text": "too long"}, {"text": ""}]')
    found = read(path, max_record_bytes=12)
    assert found.texts == [""] and found.reasons == ["record_too_large"] and found.bad[0][2].size == 20


def test_json_lines_under_the_same_suffix_are_cut_into_blocks(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"line {n}"}) for n in range(100)]
    path = tmp_path / "a.json"
    path.write_text("\n" + "\n".join(lines))
    whole, cut = read(path), read(path, block_bytes=64)
    assert whole.texts == cut.texts == [f"line {n}" for n in range(100)]
    assert len(cut.tasks) > 10 and whole.documents == cut.documents
