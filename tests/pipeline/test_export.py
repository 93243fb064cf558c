"""Exports read back by the programs they are made for."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.export import export, main
from pipeline.process import process
from shards.dataset import Dataset
from shards.manifest import Manifest
from tokenization.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of several shards and all three splits; read only."""
    output = tmp_path_factory.mktemp("made") / "dataset" / "x"
    process(
        PipelineConfig(
            input=[str(corpus)], output=output, tokenizer=tokenizer, workers=1,
            shard_tokens=3000, val_fraction=0.1, test_fraction=0.05, max_bad_fraction=0.2,
        )
    )  # fmt: skip
    return output


def documents(dataset: Path, split: str) -> list[list[int]]:
    opened = Dataset.open(dataset, split)
    return [opened.document(number).tolist() for number in range(opened.documents)]


def test_nanogpt_reads_the_tokens_in_order(made: Path, tmp_path: Path) -> None:
    place = export(made, "nanogpt", tmp_path / "nano")
    assert sorted(p.name for p in place.iterdir()) == ["meta.pkl", "test.bin", "train.bin", "val.bin"]
    for split in ("train", "val", "test"):
        flat = np.memmap(place / f"{split}.bin", dtype=np.uint16, mode="r")  # as nanoGPT's train.py opens it
        assert flat.tolist() == [token for document in documents(made, split) for token in document]


def test_nanogpt_meta_serves_its_sample_script(made: Path, tmp_path: Path) -> None:
    meta = pickle.loads((export(made, "nanogpt", tmp_path / "nano") / "meta.pkl").read_bytes())
    assert meta["vocab_size"] == Manifest.load(made).vocab_size
    prompt = "\nthe rain"
    ids = [meta["stoi"][character] for character in prompt]
    assert "".join(meta["itos"][number] for number in ids) == prompt


def test_nanogpt_refuses_ids_that_do_not_fit(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = Manifest.load(made).model_copy(update={"vocab_size": 65537})
    monkeypatch.setattr(Manifest, "load", lambda _: large)
    with pytest.raises(UserError, match=r"65,537 tokens does not fit nanoGPT's uint16.*huggingface"):
        export(made, "nanogpt", tmp_path / "nano")
    assert not list(tmp_path.iterdir())


def test_the_datasets_library_loads_it(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    place = export(made, "huggingface", tmp_path / "hub")
    loaded = datasets.load_dataset(str(place), cache_dir=str(tmp_path / "cache"))
    names = [entry.name for entry in Manifest.load(made).inputs]
    assert sorted(loaded) == ["test", "train", "validation"]
    for split, ours in (("train", "train"), ("validation", "val"), ("test", "test")):
        opened = Dataset.open(made, ours)
        assert loaded[split]["input_ids"][:] == documents(made, ours)
        records = [opened.record(number) for number in range(opened.documents)]
        assert loaded[split]["source"][:] == [names[record["source"]] for record in records]
        labels = [None if record["label"] < 0 else int(record["label"]) for record in records]
        assert loaded[split]["label"][:] == labels and set(labels) - {None}
    again = Tokenizer.load(place / "tokenizer")
    assert again.fingerprint == Manifest.load(made).tokenizer_fingerprint


def test_trained_spans_become_labels(tokenizer: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pairs = [(f"question {n}", f"answer {n}") for n in range(7)]
    records = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
    lines = [*map(json.dumps, records), json.dumps({"text": "plain text counts whole"})]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines))
    output = tmp_path / "d" / "chat"
    process(
        PipelineConfig(
            input=[str(tmp_path / "chat.jsonl")], output=output, tokenizer=tokenizer, val_fraction=0, workers=1
        )
    )
    place = export(output, "huggingface", tmp_path / "hub")
    loaded = datasets.load_dataset(str(place), cache_dir=str(tmp_path / "cache"))["train"]
    opened, text = Dataset.open(output), Tokenizer.load(output / "tokenizer")
    for number, row in enumerate(loaded):
        spans = opened.spans(number)
        assert spans is not None
        counted = {place for start, end in spans.tolist() for place in range(start, end)}
        wanted = [token if place in counted else -100 for place, token in enumerate(row["input_ids"])]
        assert row["labels"] == wanted
    assert "answer 0" in text.decode([t for t in loaded[0]["labels"] if t != -100])
    assert "question" not in text.decode([t for t in loaded[0]["labels"] if t != -100])
    assert loaded[7]["labels"] == loaded[7]["input_ids"]


def test_jsonl_is_the_cleaned_text(made: Path, tmp_path: Path) -> None:
    place = export(made, "jsonl", tmp_path / "text")
    tokenizer = Tokenizer.load(made / "tokenizer")
    for split in ("train", "val", "test"):
        rows = [json.loads(line) for line in (place / f"{split}.jsonl").read_text().splitlines()]
        assert [[*tokenizer.encode(row["text"]), 0] for row in rows] == documents(made, split)
    assert {"text", "source", "label"} == set(rows[0]) | {"label"}


@pytest.mark.parametrize("run_tokens", [1, 1 << 18])
def test_jsonl_joins_what_max_length_cut(
    made: Path, corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_tokens: int
) -> None:
    """Cuts lie inside characters here, and pieces of a document in two shards."""
    process(
        PipelineConfig(
            input=[str(corpus)], output=tmp_path / "d" / "cut", tokenizer=tokenizer, workers=1, max_length=23,
            shard_tokens=3000, val_fraction=0.1, test_fraction=0.05, max_bad_fraction=0.2,
        )
    )  # fmt: skip
    whole = export(made, "jsonl", tmp_path / "whole")
    monkeypatch.setattr("pipeline.exports.jsonl._RUN_TOKENS", run_tokens)
    joined = export(tmp_path / "d" / "cut", "jsonl", tmp_path / "joined")
    for split in ("train", "val", "test"):
        assert len(documents(tmp_path / "d" / "cut", split)) > 2 * len(documents(made, split))
        assert (joined / f"{split}.jsonl").read_bytes() == (whole / f"{split}.jsonl").read_bytes()


@pytest.mark.parametrize("tokens", [22, 43, 44, 45, 66])
def test_copies_of_a_document_in_pieces_stay_apart(tokenizer: Path, tmp_path: Path, tokens: int) -> None:
    encoder, text = Tokenizer.load(tokenizer), ""
    while len(encoder.encode(text)) < tokens:
        text += chr(ord("a") + len(text) * 7 % 26)
    assert len(encoder.encode(text)) == tokens
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": text}))
    output = tmp_path / "d" / "copies"
    process(
        PipelineConfig(
            input=[{"path": str(tmp_path / "one.jsonl"), "weight": 3}], output=output, tokenizer=tokenizer, workers=1,
            max_length=23, val_fraction=0,
        )
    )  # fmt: skip
    assert len(documents(output, "train")) == 3 * -(-tokens // 22)
    rows = (export(output, "jsonl", tmp_path / "text") / "train.jsonl").read_text().splitlines()
    assert [json.loads(row)["text"] for row in rows] == [text] * 3


def test_nothing_is_overwritten_and_failures_leave_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="already there"):
        export(made, "jsonl", tmp_path / "full")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.exports.jsonl.orjson.dumps", fail)
    with pytest.raises(OSError) as caught:
        export(made, "jsonl", tmp_path / "new")
    assert caught.value.filename == str(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_link_stays_one(made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        (tmp_path / f"to-{name}").symlink_to(name)
        assert (export(made, "jsonl", tmp_path / f"to-{name}") / "train.jsonl").is_file()
        assert (tmp_path / f"to-{name}").is_symlink() and (tmp_path / name / "train.jsonl").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs DATASET and --format and --destination"),
        (["nowhere", "--format", "jsonl", "--destination", "d"], "nowhere: no dataset there"),
        (["nowhere", "--format", "csv", "--destination", "d"], "format: Input should be 'nanogpt'"),
    ],
)
def test_mistakes_have_one_clear_message(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(options)


def test_the_command(made: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.export", str(made), "--format", "jsonl", "--destination", "text"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "train.jsonl" in result.stdout and (tmp_path / "text" / "train.jsonl").stat().st_size
