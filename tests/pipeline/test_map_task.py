"""What mapping makes of one task: token lengths, conversations cleaned content by content, failing filters named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from pipeline.cleaning.cleaner import Cleaner
from pipeline.cleaning.conversations import clean_conversations
from pipeline.config import PipelineConfig
from pipeline.executors.ray import _Worker
from pipeline.mapping.map_task import Mapper
from pipeline.mapping.setup import MapSetup
from pipeline.mapping.structured import Encoded
from pipeline.mapping.token_lengths import TokenLengths, select
from pipeline.mapping.versions import versions
from pipeline.plan import make_plan
from pipeline.settings.cleaning import CleaningSettings
from pipeline.sources.base import Conversation
from pipeline.sources.find import find_inputs
from pipeline.tokenizer_stage import choose_engine
from pipeline.workspace.part_store import PartStore
from pipeline.workspace.parts import Part
from shards.documents import SPAN
from tokenization.tokenizer import Tokenizer

LOOSE: dict[str, Any] = dict.fromkeys(
    ("max_symbols", "max_digits", "min_letters", "max_repeated_lines", "max_repeated_ngrams")
)


def map_records(tmp_path: Path, tokenizer: Path, records: list[dict[str, Any]], **settings: Any) -> tuple[Part, Path]:
    """The one part that `records` make, and their file."""
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    config = PipelineConfig(input=[str(source)], tokenizer=str(tokenizer), **{**LOOSE, **settings})
    (task,) = make_plan(find_inputs(config), config)
    store = PartStore(tmp_path / "parts", tmp_path / "staging")
    for directory in (tmp_path / "parts", tmp_path / "staging"):
        directory.mkdir()
    Mapper(MapSetup(config, tokenizer, store, None)).run(task, lambda size: None)
    return store.part(task.key), source


def test_a_worker_of_rays_needs_its_copy_of_the_tokenizer_only_to_start(
    tmp_path: Path, small: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small.tokenizer is not None
    temporary, parts, staging = (tmp_path / name for name in ("temporary", "parts", "staging"))
    for directory in (temporary, parts, staging):
        directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    given = Path(small.tokenizer)
    setup = MapSetup(
        small, tmp_path / "elsewhere", PartStore(parts, staging), choose_engine(small, Tokenizer.load(given))
    )
    worker = _Worker(setup, {path.name: path.read_bytes() for path in given.iterdir()}, versions(small.settings()))
    assert not list(temporary.iterdir())  # Ray ends a worker without a word: what lies there would stay for ever
    for task in make_plan(find_inputs(small), small):
        assert worker.run(task)[0] == "done"


def test_documents_of_too_few_or_too_many_tokens(tmp_path: Path, small: PipelineConfig) -> None:
    assert small.tokenizer is not None
    tokenizer = Tokenizer.load(Path(small.tokenizer))
    texts = ["a", "one two three", "a b", "many words " * 20, "four five six"]
    lengths = [len(tokenizer.encode(text)) for text in texts]
    low, high = lengths[2], lengths[1]
    part, _ = map_records(
        tmp_path, Path(small.tokenizer), [{"text": text} for text in texts], min_tokens=low, max_tokens=high
    )
    kept = [text.strip() for text, length in zip(texts, lengths, strict=True) if low <= length <= high]
    assert 0 < len(kept) < len(texts)
    hashes = [document["content_hash"].tobytes() for document in part.documents()]
    assert hashes == [hashlib.sha256(text.encode()).digest()[:16] for text in kept]
    ids = part.tokens(np.dtype("<u2")).tolist()
    assert ids == [token for text in kept for token in [*tokenizer.encode(text), *tokenizer.roles.terminator]]
    rejected = part.summary().rejected
    few, many = (sum(condition) for condition in ([n < low for n in lengths], [n > high for n in lengths]))
    assert {reason: count for reason, (count, _) in rejected.items()} == {
        "too_few_tokens": few,
        "too_many_tokens": many,
    }
    assert {row["text"] for row in part.rows("rejected.jsonl")} == {text.strip() for text in texts} - set(kept)
    counts = part.array("token_counts")
    assert counts is not None and int(counts["count"].sum()) == len(ids)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=8))
def test_selecting_encoded_documents(documents: list[tuple[int, bool]]) -> None:
    lengths = np.array([length for length, _ in documents], np.int64)
    chosen = np.array([keep for _, keep in documents], np.bool_)
    tokens = np.concatenate(
        [np.full(length, place) for place, (length, _) in enumerate(documents)] or [np.zeros(0, int)]
    )
    spans = np.array([(place, length, place) for place, (length, _) in enumerate(documents) for _ in range(2)], SPAN)
    result = select(Encoded(tokens, lengths, {"spans": spans}), chosen)
    left = np.flatnonzero(chosen).tolist()
    assert result.tokens.tolist() == [place for place in left for _ in range(documents[place][0])]
    assert result.lengths.tolist() == [documents[place][0] for place in left]
    assert result.extras["spans"].tolist() == [
        (n, documents[place][0], place) for n, place in enumerate(left) for _ in "ab"
    ]


@pytest.mark.parametrize(("low", "high", "expected"), [
    (None, None, {}), (3, None, {0: "too_few_tokens"}), (None, 3, {2: "too_many_tokens"}),
    (3, 3, {0: "too_few_tokens", 2: "too_many_tokens"}),
])  # fmt: skip
def test_the_terminator_does_not_count(low: int | None, high: int | None, expected: dict[int, str]) -> None:
    assert TokenLengths(low, high, 1).judge(np.array([3, 4, 5])) == expected


def test_contents_of_conversations_are_cleaned_one_by_one() -> None:
    talks: list[Conversation] = [(("user", b" a\r\n"), ("assistant", b"\n\n b<br>c ")), (), (("user", b""),)]
    cleaner = Cleaner(CleaningSettings())
    texts, cleaned = clean_conversations(cleaner, [b"ignored", b" plain ", b""], talks)
    assert cleaned == [(("user", b"a"), ("assistant", b"b\nc")), (), (("user", b""),)]
    assert texts == [b"a\nb\nc", b"plain", b""]
    assert cleaner.changed["collapse_blanks"] == 2  # documents, not contents
    assert cleaner.changed["unify_newlines"] == cleaner.changed["replace_br_tags"] == 1


def raise_on_river(text: str) -> bool:
    """A user's filter that fails on one text."""
    if "river" in text:
        raise ValueError("no rivers here")
    return True


def test_a_failing_filter_names_the_record(tmp_path: Path, small: PipelineConfig) -> None:
    assert small.tokenizer is not None
    records = [{"text": "plain words"}, {"text": "a river runs"}]
    offset = len(json.dumps(records[0])) + 1
    with pytest.raises(UserError, match=f"in.jsonl: the record at {offset}: .*no rivers here"):
        map_records(tmp_path, Path(small.tokenizer), records, custom_filter=f"{__name__}:raise_on_river")


def test_rows_of_several_batches_number_the_documents_of_the_part(
    tmp_path: Path, small: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentence rows count documents within the part, however the batches fall."""
    monkeypatch.setattr("pipeline.sources.blocks.CHUNK", 64)
    assert small.tokenizer is not None
    records = [{"text": f"One sentence {number}. Another sentence. A third one."} for number in range(20)]
    part, _ = map_records(tmp_path, Path(small.tokenizer), records, sentence_borders=True)
    rows = part.array("sentences")
    assert rows is not None and rows["document"].tolist() == [number for number in range(20) for _ in range(3)]
