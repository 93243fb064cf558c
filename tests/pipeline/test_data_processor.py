"""The Python API: its own example, and what its promises come to."""

from __future__ import annotations

import base64
import doctest
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from pipeline import DataProcessor, data_processor
from pipeline.config import PipelineConfig
from pipeline.process import process
from shards.dataset import Dataset

from .conftest import ROOT, digests, documents, plain_cleaning


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_the_example_runs(tokenizer: Path) -> None:
    Path("tokenizer").symlink_to(tokenizer)
    records = [{"text": "the rain"}, {"text": " ".join(documents(30, 1)), "id": 7}, {"text": "café"}]
    Path("raw.jsonl").write_text("\n".join([*map(json.dumps, records), "{broken"]))
    failed, tried = doctest.testmod(data_processor)
    assert (failed, tried) == (0, 7)
    statistics = json.loads(Path("statistics.json").read_text())
    assert statistics["validated"] == {"raw.jsonl": {"valid": 3, "invalid": 1, "reasons": {"invalid_json": 1}}}
    stats = json.loads(Path("dataset/mine/stats.json").read_text())
    assert statistics["datasets"] == {"dataset/mine": stats}
    dataset = Dataset.open("dataset/mine")
    assert dataset.documents > 10 and max(len(dataset.document(n)) for n in range(dataset.documents)) == 64


def test_importing_the_package_stays_light() -> None:
    code = "import sys, pipeline; print(sorted({'numpy', 'tokenizers', 'pydantic', 'pyarrow'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'Processor'"):
        __import__("pipeline").Processor  # noqa: B018


@pytest.mark.parametrize("chunk_size", [64, 5000, 1 << 20])
def test_valid_records_are_cleaned_and_kept_whole(corpus: Path, tokenizer: Path, chunk_size: int) -> None:
    """Against a plain reading of the file, for any size of chunks."""
    checked = DataProcessor(tokenizer, chunk_size=chunk_size).validate_and_clean_jsonl(corpus / "a.jsonl", "out.jsonl")
    good: list[dict] = []
    bad: list[tuple[int, bytes]] = []
    for number, line in enumerate((corpus / "a.jsonl").read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode())
            record["text"] = plain_cleaning(record["text"])
        except (ValueError, KeyError):
            record = {"text": ""}
        if record["text"]:
            good.append(record)
        else:
            bad.append((number, line))
    assert lines(Path("out.jsonl")) == good
    rows = lines(Path("out.quarantine.jsonl"))
    assert [(row["line"], base64.b64decode(row["raw_base64"])) for row in rows] == bad
    assert {row["reason"] for row in rows} == {"invalid_utf8", "missing_text_field", "empty"} == set(checked.reasons)
    assert (checked.valid, checked.invalid) == (len(good), len(bad)) and sum(checked.reasons.values()) == len(bad)
    assert checked.quarantine == Path("out.quarantine.jsonl")


class _AsWritten(str):
    """A number, by its digits."""


def as_written(line: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(line, parse_int=_AsWritten, parse_float=_AsWritten)
    return record


NUMBERS = [
    "123456789012345678901234567890", "18446744073709551616", "-9223372036854775809", "18446744073709551615",
    "0.1234567890123456789", "1e-400", "-0.0", "1.50", "1E5", "0.1",
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_all_their_digits(tokenizer: Path, number: str) -> None:
    talk = '"messages": [{"role": "user", "content": "a<br />b"}]'
    Path("in.jsonl").write_text(f'{{"text": "a<br />b", "id": {number}}}\n{{{talk}, "ids": [{number}, 1]}}\n')
    checked = DataProcessor(tokenizer).validate_and_clean_jsonl("in.jsonl", "out.jsonl")
    plain, chat = map(as_written, Path("out.jsonl").read_bytes().splitlines())
    assert checked.valid == 2 and (plain["text"], chat["messages"][0]["content"]) == ("a\nb", "a\nb")
    assert plain["id"] == number and chat["ids"] == [number, "1"]


def test_a_value_may_lie_deep(tokenizer: Path) -> None:
    """Deeper than orjson writes."""
    line = b'{"text":"a","deep":' + b"[" * 300 + b'{"x":1.0}' + b"]" * 300 + b"}\n"
    Path("in.jsonl").write_bytes(line)
    DataProcessor(tokenizer).validate_and_clean_jsonl("in.jsonl", "out.jsonl")
    assert Path("out.jsonl").read_bytes() == line


_KEYS = st.text(st.sampled_from('ab"\\{}[],:é\n'), max_size=4)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | _KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(st.dictionaries(_KEYS, _VALUES, max_size=5), min_size=1, max_size=40),
    indented=st.booleans(),
    escaped=st.booleans(),
)
def test_all_other_fields_stay(tokenizer: Path, records: list[dict[str, Any]], indented: bool, escaped: bool) -> None:
    """Whatever their names and values, and however they are written."""
    separators = (" , ", "\t: ") if indented else (",", ":")
    whole = [{**record, "text": "a<br />b"} for record in records]
    raw = [json.dumps(record, ensure_ascii=escaped, separators=separators) for record in whole]
    Path("in.jsonl").write_text("\n".join(raw), encoding="utf-8")
    Path("out.jsonl").unlink(missing_ok=True)
    DataProcessor(tokenizer).validate_and_clean_jsonl("in.jsonl", "out.jsonl")
    written = [as_written(line) for line in Path("out.jsonl").read_bytes().splitlines()]
    assert written == [{**as_written(line.encode()), "text": "a\nb"} for line in raw]


def test_archives_and_conversations(tokenizer: Path) -> None:
    turns = [{"from": "human", "value": "the  rain\r\n"}, {"from": "gpt", "value": "of<br />rivers"}]
    with gzip.open("chat.jsonl.gz", "wt") as out:
        out.write(json.dumps({"conversations": turns, "id": 1}) + "\n")
    checked = DataProcessor(tokenizer).validate_and_clean_jsonl("chat.jsonl.gz", "clean.jsonl.gz")
    assert (checked.valid, checked.invalid, checked.quarantine) == (1, 0, None)
    assert not Path("clean.quarantine.jsonl").exists()
    with gzip.open("clean.jsonl.gz") as done:
        (record,) = map(json.loads, done)
    assert record == {
        "id": 1,
        "messages": [{"role": "user", "content": "the  rain"}, {"role": "assistant", "content": "of\nrivers"}],
    }


def test_pieces_lose_nothing(tokenizer: Path) -> None:
    Path("in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(40, 5)))
    whole = DataProcessor(tokenizer, val_fraction=0).process_dataset("in.jsonl", "d/whole")
    assert whole.changed and whole.manifest is not None
    DataProcessor(tokenizer, max_length=23, val_fraction=0).process_dataset(["in.jsonl"], Path("d/pieces"))
    long, short = Dataset.open("d/whole"), Dataset.open("d/pieces")
    joined: dict[int, list[int]] = {}
    for number in range(short.documents):
        tokens = short.document(number).tolist()
        assert len(tokens) <= 23 and tokens[-1] == 0
        joined.setdefault(int(short.record(number)["offset"]), []).extend(tokens[:-1])
    assert list(joined.values()) == [long.document(number).tolist()[:-1] for number in range(long.documents)]
    assert short.documents > 2 * long.documents


def test_chunks_and_intervals_are_the_unit_of_saved_work(corpus: Path, tokenizer: Path) -> None:
    """One part for each `save_interval` chunks, and the dataset of the equal command."""
    DataProcessor(tokenizer, chunk_size=3000, save_interval=3, workers=1).process_dataset(corpus / "a.jsonl", "d/x")
    parts = next(Path("d/.work").glob("*/parts"))
    assert len(list(parts.iterdir())) == -(-(corpus / "a.jsonl").stat().st_size // 9000)
    process(
        PipelineConfig(
            input=[f"{corpus}/a.jsonl"], output=Path("e/x"), tokenizer=tokenizer, block_bytes=9000, workers=1
        )
    )
    assert digests(Path("d/x")) == digests(Path("e/x"))


def test_resuming(corpus: Path, tokenizer: Path) -> None:
    processor = DataProcessor(tokenizer)
    assert processor.process_dataset(corpus / "a.jsonl", "d/x").changed
    assert not processor.process_dataset(corpus / "a.jsonl", "d/x").changed
    with pytest.raises(UserError, match="a dataset is already there"):
        processor.process_dataset(corpus / "a.jsonl", "d/x", resume=False)


def test_mistakes_are_named(corpus: Path, tokenizer: Path) -> None:
    with pytest.raises(UserError, match=r"DataProcessor: min_char: .*did you mean min_chars"):
        DataProcessor(tokenizer, min_char=3)
    with pytest.raises(UserError, match="output has an argument of its own"):
        DataProcessor(tokenizer, output="x")
    processor = DataProcessor(tokenizer)
    with pytest.raises(UserError, match="nothing to write yet"):
        processor.save_statistics("s.json")
    with pytest.raises(UserError, match="give one JSON Lines file"):
        processor.validate_and_clean_jsonl(corpus / "d.txt", "out.jsonl")
    Path("out.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"out.jsonl: is already there"):
        processor.validate_and_clean_jsonl(corpus / "a.jsonl", "out.jsonl")
    assert Path("out.jsonl").read_text() == "mine"
    data = gzip.compress(b'{"text": "the rain"}\n' * 999)
    Path("cut.jsonl.gz").write_bytes(data[: len(data) - 20])
    with pytest.raises(UserError, match=r"cut.jsonl.gz: damaged .*nothing was written"):
        processor.validate_and_clean_jsonl("cut.jsonl.gz", "new.jsonl")
    assert sorted(path.name for path in Path().iterdir()) == ["cut.jsonl.gz", "out.jsonl"]
