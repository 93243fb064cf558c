"""How a record becomes a document: labels, templates, conversations; what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from pipeline.sources.base import InputOptions
from pipeline.sources.records import Extractor, Unreadable, parse_template
from tests.pipeline.sources.reading import read


def outcome(record: dict[str, Any], **options: Any) -> Any:
    """(text, label) of a record, or the reason why there is none."""
    try:
        found = Extractor(InputOptions(**options)).extract(record)
    except Unreadable as fault:
        return fault.reason
    return found.text.decode(), found.label


def test_labels() -> None:
    names = ("neg", "pos")
    for value, plain, named in (
        (1, 1, 1), (0, 0, 0), (-1, -1, -1), (None, -1, -1), ("", -1, -1), ("1", 1, 1), (True, 1, 1),
        (2.0, 2, "label_out_of_range"),
        (7, 7, "label_out_of_range"), (-2, "label_out_of_range", "label_out_of_range"), ("pos", "unknown_label", 1),
        ("neg", "unknown_label", 0), ("²", "unknown_label", "unknown_label"),
        (1.5, "label_not_an_integer", "label_not_an_integer"),
        ([1], "label_not_an_integer", "label_not_an_integer"), (2**31, "label_out_of_range", "label_out_of_range"),
        ("9" * 5000, "label_out_of_range", "label_out_of_range"),
    ):  # fmt: skip
        for wanted, labels in ((plain, ()), (named, names)):
            expected = ("t", wanted) if isinstance(wanted, int) else wanted
            assert outcome({"text": "t", "label": value}, labels=labels) == expected, (value, labels)
    assert outcome({"text": "t"}) == ("t", -1)
    assert outcome({"text": "t", "label": {"any": "thing"}}, label_field=None) == ("t", -1)


def test_labels_of_json_lines_are_those_of_the_thorough_way(tmp_path: Path) -> None:
    """The reader's short cut for common records agrees with the extractor."""
    values: list[Any] = [
        0,
        1,
        2,
        -1,
        -7,
        None,
        "pos",
        "neg",
        "x",
        "",
        True,
        1.0,
        1.5,
        [],
        {},
        2**31 - 1,
        2**31,
        2**63,
        10**30,
    ]
    records = [{"text": f"t{n}", "label": value} for n, value in enumerate(values)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    for labels in ([], ["neg", "pos"]):
        found = read(path, labels=labels)
        good = {d.offset: (d.text, d.label) for d in found.documents}
        bad = {b.offset: b.reason for _, _, b in found.bad}
        offset = 0
        for record in records:
            expected = outcome(json.loads(json.dumps(record)), labels=tuple(labels))
            assert {**good, **bad}[offset] == expected, record
            offset += len(json.dumps(record)) + 1


def test_templates() -> None:
    record = {"title": "T", "a b.c[0]": "B", "n": 5, "x": None, "f": 1.5}
    assert outcome(record, text_template="{title}\n\n{a b.c[0]}{{{n}}}") == ("T\n\nB{5}", -1)
    assert outcome(record, text_template="{x}") == outcome(record, text_template="{f}") == "text_not_a_string"
    assert outcome(record, text_template="{nothing}") == "missing_text_field"
    for wrong in ("no field", "{}", "{0!r}", "{title!s}", "{title:>10}", "{title", "title}"):
        with pytest.raises(UserError, match="text_template"):
            parse_template(wrong)
    # No attribute and no item of a value is ever looked up.
    assert outcome(record, text_template="{title.__class__}") == "missing_text_field"


def test_conversations() -> None:
    openai = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]}
    sharegpt = {"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "世界"}]}
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}
    for record, turns in (
        (openai, (("system", b"S"), ("user", b"U"))),
        (sharegpt, (("user", b"U"), ("assistant", "世界".encode()))),
        (parts, (("user", b"a\nb"),)),
        ({"talk": openai["messages"], "text": "not this"}, (("system", b"S"), ("user", b"U"))),
    ):
        options = InputOptions(messages_field="talk" if "talk" in record else None)
        found = Extractor(options).extract(record)
        assert found.conversation == turns and found.text == b"\n".join(content for _, content in turns)
    for messages, reason in (
        ("hello", "messages_not_a_list"), ([], "no_messages"), (["x"], "message_not_an_object"),
        ([{"role": "wizard", "content": "x"}], "unknown_role"), ([{"content": "x"}], "unknown_role"),
        ([{"role": ["user"], "content": "x"}], "unknown_role"),
        ([{"role": "user", "content": None}], "message_not_text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "message_not_text"),
        ([{"role": "user"}], "message_not_text"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "message_not_text"),
    ):  # fmt: skip
        assert outcome({"messages": messages}) == reason, messages
    assert outcome({"text": "t", "messages": []}) == ("t", -1)
    assert outcome({"text": "t"}, messages_field="messages") == "missing_messages_field"


@pytest.mark.realdata
def test_texts_and_conversations_in_one_file(tmp_path: Path, realdata: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "plain"}\n{"messages": [{"role": "user", "content": "chat"}]}\n{"text": "again"}\n')
    found = read(path)
    assert [d.conversation for d in found.documents] == [None, (("user", b"chat"),), None]
    for name, count in (("instructions_en.jsonl", 999), ("instructions_zh.jsonl", 1000)):
        whole = read(realdata / "chat" / name)
        records = [json.loads(line) for line in (realdata / "chat" / name).read_text().splitlines()]
        expected = [tuple((m["role"], m["content"].encode()) for m in record["messages"]) for record in records]
        assert [d.conversation for d in whole.documents] == expected and len(expected) == count and not whole.bad
