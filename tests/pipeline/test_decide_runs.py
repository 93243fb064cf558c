"""Whole runs: near duplicates, decontamination, splits and weights end up in the dataset as decided."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.process import process
from shards.dataset import Dataset
from tests.pipeline.conftest import Run, digests

SECRET = "the quick brown fox jumps over the lazy dog and then sleeps in the warm summer sun"


def texts(count: int, seed: int) -> list[str]:
    """Texts of 60 to 90 words or 100 Chinese characters; every third is an earlier one with a word changed."""
    chance = random.Random(seed)
    result: list[str] = []
    for number in range(count):
        words = ["".join(chance.choices("aeinorst", k=6)) for _ in range(chance.randrange(60, 90))]
        if number % 7 == 0:
            words = ["".join(chr(chance.randrange(0x4E00, 0x9000)) for _ in range(100))]
        if number % 3 == 2:
            words = [*chance.choice(result).split(" "), "changed"]
        result.append(" ".join(words))
    return result


def write(path: Path, rows: list[str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def made(output: Path, tokenizer: Path, resume: bool = False, **changes: Any) -> PipelineConfig:
    config = PipelineConfig(output=output, tokenizer=tokenizer, **{"workers": 1, "val_fraction": 0.1, **changes})
    process(config, resume=resume)
    return config


def stats(output: Path) -> dict[str, Any]:
    return json.loads((output / "stats.json").read_text())  # type: ignore[no-any-return]


def records(dataset: Dataset) -> npt.NDArray[np.void]:
    """The document records of all shards."""
    return np.concatenate([shard.records for shard in dataset.shards if shard.records is not None])


def test_same_documents_for_any_workers_and_blocks(tmp_path: Path, tokenizer: Path) -> None:
    inputs = [write(tmp_path / "raw" / name, texts(83, seed)) for seed, name in enumerate(("a.jsonl", "b.jsonl"))]
    found = []
    for number, (workers, block) in enumerate([(1, 10**6), (2, 7001), (3, 20011)]):
        output = tmp_path / f"run{number}" / "x"
        made(output, tokenizer, input=inputs, near_dedup=True, workers=workers, block_bytes=block)
        assert not list((output.parent / ".work").glob("*/dedup"))
        found.append({name: value for name, value in digests(output).items() if name.startswith(("train", "val"))})
        accounts = stats(output)["accounts"]
        assert accounts["duplicate"]["reasons"]["near"]["records"] > 20
    assert found[0] and found[0] == found[1] == found[2]


def test_decontamination(tmp_path: Path, tokenizer: Path) -> None:
    held_out = tmp_path / "eval.jsonl"
    write(held_out, ["unrelated but long enough to have thirteen words in it, or so one hopes here", SECRET])
    rows = [*texts(20, 1), f"Before it. {SECRET.upper()}! After it.", *texts(20, 2)]
    options: dict[str, Any] = {"input": [write(tmp_path / "a.jsonl", rows)], "decontaminate": [str(held_out)]}
    output = tmp_path / "out" / "x"
    made(output, tokenizer, **options)
    assert stats(output)["accounts"]["rejected"]["reasons"]["contaminated"]["records"] == 1
    manifest = (output / "manifest.json").read_text()
    assert "eval.jsonl" not in manifest and len(json.loads(manifest)["settings"]["decontaminate"][0]) == 64
    before = digests(output)
    made(output, tokenizer, resume=True, **options)
    assert digests(output) == before
    write(held_out, [SECRET])
    with pytest.raises(UserError, match="decontaminate"):
        made(output, tokenizer, resume=True, **options)
    made(tmp_path / "plain" / "x", tokenizer, input=options["input"])
    assert "contaminated" not in stats(tmp_path / "plain" / "x")["accounts"]["rejected"]["reasons"]


def test_splits_and_weights_of_inputs(tmp_path: Path, tokenizer: Path) -> None:
    shared = texts(5, 9)
    groups = {"test": [*texts(20, 3), *shared], "twice": [*texts(30, 4), *shared], "half": texts(60, 5)}
    paths = {name: write(tmp_path / f"{name}.jsonl", rows) for name, rows in groups.items()}
    output = tmp_path / "out" / "x"
    inputs = [
        {"path": paths["test"], "split": "test"},
        {"path": paths["twice"], "weight": 2},
        {"path": paths["half"], "weight": 0.5, "split": "train"},
    ]
    made(output, tokenizer, input=inputs, val_fraction=0.0)
    train, test = Dataset.open(output, "train"), Dataset.open(output, "test")
    sources = {"train": records(train)["source"], "test": records(test)["source"]}
    assert np.unique(sources["test"]).tolist() == [0]
    kept = {name: len(dict.fromkeys(rows)) for name, rows in groups.items()}
    assert len(sources["test"]) == kept["test"]  # named first, so it keeps the texts it shares with train
    assert (sources["train"] == 1).sum() == 2 * len(set(groups["twice"]) - set(shared))
    left_out = stats(output)["accounts"]["rejected"]["records"]
    assert 0 < left_out < kept["half"] and (sources["train"] == 2).sum() == kept["half"] - left_out
    hashes = records(train)["content_hash"]
    assert len(np.unique(hashes)) == len(hashes) - (sources["train"] == 1).sum() // 2


def test_full_disk_while_searching(tmp_path: Path, tokenizer: Path, run: Run) -> None:
    raw = write(tmp_path / "a.jsonl", texts(40, 6))
    options = ["--input", raw, "--output", "out/x", "--tokenizer", str(tokenizer), "--near_dedup", "true"]
    failed = run(*options, failpoint="dedup.mid_write:2:raise=ENOSPC")
    assert failed.returncode != 0 and "Traceback" not in failed.stderr
    assert "dedup" in failed.stderr and "the disk is full" in failed.stderr
    assert (
        not list((tmp_path / "out").glob(".work/*/dedup")) and not (tmp_path / "out" / "x" / "manifest.json").exists()
    )
    assert run(*options, "--resume").returncode == 0
