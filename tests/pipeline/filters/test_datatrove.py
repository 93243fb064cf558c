"""The four rule sets against datatrove's own filters, with its defaults (needs datatrove and spaCy)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PipelineConfig
from pipeline.filters.base import Filter, TextBatch
from pipeline.filters.chain import build_filters

from .texts import ENGLISH

SETS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
Verdict = tuple[bool, str]
# Symbols that no English text has at word ends, and mean words' lengths, agree as well; what is left out is what
# `words` says it does otherwise: CJK.
chunks = st.one_of(
    st.sampled_from(ENGLISH.split()), st.from_regex(r"[A-Za-z]{1,9}[.,!?]?", fullmatch=True),
    st.from_regex(r"[A-Za-z'.,:;!?()\-/0-9$%<>=]{1,9}", fullmatch=True),
)  # fmt: skip
lines = st.lists(chunks, min_size=1, max_size=20).map(" ".join)
english = st.lists(st.one_of(lines, st.sampled_from(["", "- one", "Wait...", "The end of it."])), max_size=12)
documents = st.builds(lambda parts, times: "\n".join(parts * times), english, st.integers(1, 3))


@pytest.fixture(scope="module")
def theirs() -> dict[str, Callable[[str], Verdict]]:
    """By rule set: whether a text stays, and what is left of it."""
    pytest.importorskip("spacy")
    filters = pytest.importorskip("datatrove.pipeline.filters")
    data = pytest.importorskip("datatrove.data")
    kinds = (
        filters.GopherRepetitionFilter, filters.GopherQualityFilter, filters.C4QualityFilter,
        filters.FineWebQualityFilter,
    )  # fmt: skip

    def ask(filter_: Any, text: str) -> Verdict:
        document = data.Document(text=text, id="0")
        stays = filter_.filter(document) is True
        return stays, document.text if stays else text

    return {name: partial(ask, kind()) for name, kind in zip(SETS, kinds, strict=True)}


def ours(name: str) -> Filter:
    config = PipelineConfig.model_validate({name: True})
    return build_filters(config)[-1]


def judge(filter_: Filter, texts: list[str]) -> list[Verdict]:
    verdicts = filter_.judge(TextBatch([text.encode() for text in texts]))
    return [
        (place not in verdicts.dropped, verdicts.rewritten.get(place, text.encode()).decode())
        for place, text in enumerate(texts)
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(documents, min_size=1, max_size=4))
@pytest.mark.parametrize("name", SETS)
def test_made_english(theirs: dict[str, Callable[[str], Verdict]], name: str, texts: list[str]) -> None:
    texts = [text for text in texts if text.strip()]  # datatrove divides by the words of an empty text
    assert judge(ours(name), texts) == [theirs[name](text) for text in texts]


@pytest.mark.realdata
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("breaks", ["<br />", "\n"])
def test_reviews(theirs: dict[str, Callable[[str], Verdict]], name: str, breaks: str, realdata: Path) -> None:
    with gzip.open(realdata / "imdb" / "train.jsonl.gz") as file:
        texts = [json.loads(next(file))["text"].replace("<br />", breaks) for _ in range(307)]
    assert judge(ours(name), texts) == [theirs[name](text) for text in texts]
