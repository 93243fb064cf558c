"""A dry run predicts what a real run gives, and leaves nothing behind."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.preview.dry_run import dry_run
from pipeline.preview.sampling import PICK_BYTES, pick
from pipeline.preview.text import told
from pipeline.process import process
from pipeline.sources.base import Identity, InputOptions, Task
from shards.manifest import Manifest

from .conftest import Run, arguments, documents


def task(size: int, number: int = 0) -> Task:
    return Task(number, f"{number}.jsonl", 0, size, size, Identity(size, "", str(number)), InputOptions())


def totals(manifest: Manifest) -> tuple[int, int]:
    return (
        sum(split.documents for split in manifest.splits.values()),
        sum(split.tokens for split in manifest.splits.values()),
    )


def test_of_a_small_input_everything_is_tried(small: PipelineConfig) -> None:
    """The sample is the whole: the prediction is exact, but for duplicates, which it counts apart."""
    estimate = dry_run(small)
    assert not small.output.parent.exists(), "nothing is written"
    result = process(small)
    assert result.manifest is not None
    published, _ = totals(result.manifest)
    accounts = json.loads((small.output / "stats.json").read_text())["accounts"]
    assert estimate.whole and estimate.seen_bytes == pytest.approx(estimate.input_bytes)
    assert round(estimate.records) == accounts["read"]["records"]
    assert round(estimate.documents) == published + accounts["duplicate"]["records"]
    assert estimate.seen_duplicates == accounts["duplicate"]["records"]
    for outcome, counted in (("rejected", estimate.rejected), ("quarantined", estimate.quarantined)):
        assert counted == {reason: entry["records"] for reason, entry in accounts[outcome]["reasons"].items()}


def test_exact_tokens_and_shards_without_duplicates(small: PipelineConfig) -> None:
    config = small.model_copy(update={"exact_dedup": False})
    estimate = dry_run(config)
    result = process(config)
    assert result.manifest is not None
    assert round(estimate.tokens) == totals(result.manifest)[1]
    on_disk = sum(entry.bytes for s in result.manifest.splits.values() for x in s.shards for entry in x.files.values())
    assert estimate.shard_bytes == pytest.approx(on_disk, rel=0.1)
    work = next(small.output.parent.glob(".work/*/parts"))
    assert estimate.work_bytes == pytest.approx(sum(p.stat().st_size for p in work.rglob("*") if p.is_file()), rel=0.01)


def test_a_sample_is_spread_and_predicts_the_whole(small: PipelineConfig, tmp_path: Path, monkeypatch) -> None:
    """Two thirds of the input have short texts, the last third long ones: a sample of the start alone would mislead."""
    chance = random.Random(4)
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(3):
        with (raw / f"{number}.jsonl").open("w") as out:
            for place, text in enumerate(documents(800, number)):
                text = f"{number} {place} {text * (5 if number == 2 else 1)}"
                out.write(json.dumps({"text": text, "noise": "x" * chance.randrange(90)}) + "\n")
    config = small.model_copy(update={"input": [str(raw)], "block_bytes": 65536, "exact_dedup": False})
    for name, value in (("LEAST_BYTES", 40 * 4096), ("LEAST_DOCUMENTS", 200)):
        monkeypatch.setattr(f"pipeline.preview.dry_run.{name}", value)
    monkeypatch.setattr("pipeline.preview.sampling.PICK_BYTES", 4096)
    monkeypatch.setattr("pipeline.sources.blocks.CHUNK", 2048)
    estimate = dry_run(config)
    assert not estimate.whole and estimate.seen_bytes < 0.25 * estimate.input_bytes and estimate.seen_records >= 200
    result = process(config)
    assert result.manifest is not None
    published, tokens = totals(result.manifest)
    assert estimate.tokens == pytest.approx(tokens, rel=0.1) and estimate.documents == pytest.approx(
        published, rel=0.15
    )
    assert dry_run(config).tokens == estimate.tokens  # the same input gives the same prediction


def test_picks_stand_for_the_whole_input() -> None:
    for tasks in ([task(10**9)], [task(7), task(10**8, 1), task(10**3, 2)], [task(1 << 20, n) for n in range(500)]):
        total = sum(t.bytes for t in tasks)
        for wanted in (1, 8 * PICK_BYTES, 10 * total):
            picks = pick(tasks, wanted)
            assert sum(p.stands_for for p in picks) == pytest.approx(total)
            assert [p.task.source for p in picks] == sorted({p.task.source for p in picks})
    spread = [p.task.source for p in pick([task(1 << 20, n) for n in range(500)], 10 * PICK_BYTES)]
    assert spread == [25, 75, 125, 175, 225, 275, 325, 375, 425, 475]
    assert pick([task(0)], 100) == []


def test_the_first_records_alone(small: PipelineConfig) -> None:
    estimate = dry_run(small.model_copy(update={"max_samples": 50}))
    assert round(estimate.records) == 50


def test_a_trained_tokenizer_is_made_for_the_trial(small: PipelineConfig) -> None:
    config = small.model_copy(update={"tokenizer": None, "vocab_size": 400, "exact_dedup": False})
    estimate = dry_run(config)
    assert estimate.tokenizer.startswith("trained for this trial") and not small.output.parent.exists()
    result = process(config)
    assert result.manifest is not None and round(estimate.tokens) == totals(result.manifest)[1]
    assert dry_run(config).tokenizer.startswith("frozen by an earlier run")


def test_the_command_shows_reasons_and_examples(small: PipelineConfig, run: Run) -> None:
    done = run(*arguments(small), "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "nothing was written" in done.stdout and not small.output.parent.exists()
    for word in (
        "tokens  ",
        "disk  ",
        "time  ",
        "memory  ",
        "kept: ",
        "rejected, empty",
        "quarantined, invalid_utf8: ",
    ):
        assert word in done.stdout, done.stdout
    missing = run("--dry_run", "--output", "d/x")
    assert missing.returncode == 2 and "dataset/raw" in missing.stderr and "Traceback" not in missing.stderr


def test_an_empty_input_is_said_so(small: PipelineConfig, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match="nothing to try"):
        dry_run(small.model_copy(update={"input": [str(tmp_path / "empty.jsonl")]}))


@pytest.mark.realdata
def test_imdb_within_ten_percent(
    realdata: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.preview.dry_run.LEAST_BYTES", 1 << 20)
    config = PipelineConfig(
        input=[str(realdata / "imdb" / "test.jsonl.gz")], output=tmp_path / "d" / "imdb", tokenizer=tokenizer
    )
    estimate = dry_run(config)
    assert not estimate.whole
    result = process(config)
    assert result.manifest is not None
    published, tokens = totals(result.manifest)
    assert estimate.tokens == pytest.approx(tokens, rel=0.1) and estimate.documents == pytest.approx(published, rel=0.1)
    assert list(told(estimate, config))
