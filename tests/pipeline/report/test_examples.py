"""Examples: what differs between duplicates is seen and marked, large files of examples are looked at in part."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.page.wording import escape
from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.report import examples


def cluster(path: Path, *texts: str, kind: str = "near") -> str:
    """The section of one cluster of these texts."""
    members: list[dict[str, Any]] = [
        {"source": "a.jsonl", "offset": n, "tokens": 1, "text": t} for n, t in enumerate(texts)
    ]
    path.write_text(json.dumps({"kind": kind, "size": len(texts), "members": members}) + "\n")
    return examples.duplicates(path)


def test_a_changed_word_is_marked(tmp_path: Path) -> None:
    found = cluster(tmp_path / "c.jsonl", "the same old words", "the same new words", "the same old words")
    assert re.findall("<mark>(.*?)</mark>", found) == ["new"]
    assert "near duplicates · 3 documents" in found and found.count("<article") == 3


def test_changed_characters_of_chinese_are_marked(tmp_path: Path) -> None:
    found = cluster(tmp_path / "c.jsonl", "春眠不覺曉，處處聞啼鳥。", "春眠不覺曉，處處問啼鳥。")
    assert re.findall("<mark>(.*?)</mark>", found) == ["聞", "問"]


def test_a_late_difference_is_in_the_window(tmp_path: Path) -> None:
    head = "word " * 300
    found = cluster(tmp_path / "c.jsonl", head + "here", head + "<b>there")
    assert re.findall("<mark>(.*?)</mark>", found) == ["here", "&lt;b&gt;there"]
    assert "… word word" in found and len(found) < 2500


@given(st.text(), st.text())
def test_marking_keeps_the_text(first: str, second: str) -> None:
    marked = examples._marked(first, second)
    assert re.sub("</?mark>", "", marked) == escape(second)
    unmarked = html.unescape(re.sub("<mark>.*?</mark>", "", marked, flags=re.DOTALL))
    shown = iter(html.unescape(escape(first)))
    assert all(character in shown for character in unmarked), "what is not marked is in the first text, in that order"


def test_only_the_beginning_of_a_huge_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SCANNED_BYTES", 10_000)
    path = tmp_path / "records.jsonl"
    row = {"source": "a", "offset": 1, "line": 1, "reason": "too_short", "bytes": 5, "text": "short"}
    path.write_text((json.dumps(row) + "\n") * 500 + "this is not even JSON\n")
    found = examples.rejected(path, {"too_short": {"records": 501, "bytes": 9}}, {"a": "row"})
    assert found.count("<article") == examples.OF_EACH_REASON and "a row 1" in found and "501 records" in found


def test_nothing_to_show_is_no_section(tmp_path: Path) -> None:
    assert examples.rejected(tmp_path / "none", {}, {}) == examples.duplicates(tmp_path / "none") == ""


def test_evenly() -> None:
    assert (
        examples._evenly(100, 4) == [12, 37, 62, 87]
        and examples._evenly(2, 9) == [0, 1]
        and examples._evenly(0, 3) == []
    )


def test_what_a_chat_trains_on_is_marked(tmp_path: Path) -> None:
    talks = [
        [("user", f"question {n}?"), ("assistant", f"answer <{n}>"), ("user", "so?"), ("assistant", "yes")]
        for n in range(4)
    ]
    lines = [{"messages": [{"role": role, "content": text} for role, text in talk]} for talk in talks]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(line) for line in [*lines, {"text": "a plain text"}]))
    config = PipelineConfig(input=[str(tmp_path / "in.jsonl")], output=tmp_path / "d" / "x", vocab_size=300, workers=1,
                            val_fraction=0.0)  # fmt: skip
    process(config)
    page = (config.output / "report" / "index.html").read_text()
    kept = page.split("<h2>Kept</h2>")[1].split("</section>")[0]
    marked = [html.unescape(text) for text in re.findall("<mark>(.*?)</mark>", kept, flags=re.DOTALL)]
    assert marked == [text for n in range(4) for text in (f"answer <{n}><|im_end|>", "yes<|im_end|>")]
    assert "a plain text&lt;|endoftext|&gt;</div>" in kept
