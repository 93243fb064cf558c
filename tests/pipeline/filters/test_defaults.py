"""The filters everybody gets, on real text: what they drop is not worth keeping, and it is hardly anything."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from pipeline.config import PipelineConfig
from pipeline.filters.chain import FilterChain


def dropped(path: Path, first: int) -> Counter[str]:
    with gzip.open(path) as file:
        texts = [json.loads(line)["text"].replace("<br />", "\n").encode() for line in islice(file, first)]
    found: Counter[str] = Counter()
    for at in range(0, len(texts), 997):
        found.update(FilterChain(PipelineConfig()).judge(texts[at : at + 997]).dropped.values())
    return found


@pytest.mark.realdata
def test_reviews(realdata: Path) -> None:
    assert dropped(realdata / "imdb" / "train.jsonl.gz", 10_007).total() <= 8


@pytest.mark.realdata
def test_poems(realdata: Path) -> None:
    assert not dropped(realdata / "zh_poetry" / "poems.jsonl.gz", 20_011)


@pytest.mark.realdata
@pytest.mark.parametrize("language", ["zh", "en"])
def test_answers_with_code_and_tables(realdata: Path, language: str) -> None:
    lines = (realdata / "chat" / f"instructions_{language}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["messages"][-1]["content"].encode() for line in lines]
    reasons = FilterChain(PipelineConfig()).judge([answer for answer in answers if answer]).dropped.values()
    assert len(reasons) <= 2, reasons


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "between"), [("wikitext2_valid.txt", "\n"), ("tinyshakespeare.txt", "\n\n")])
def test_encyclopedia_and_plays(realdata: Path, name: str, between: str) -> None:
    text = (realdata / "english" / name).read_text(encoding="utf-8")
    paragraphs = [each.strip().encode() for each in text.split(between) if each.strip()]
    assert not FilterChain(PipelineConfig()).judge(paragraphs).dropped
