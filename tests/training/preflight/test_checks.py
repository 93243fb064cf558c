"""Before step 1: what will not fit is refused, what will happen is said, and the run is the one without checks."""

from __future__ import annotations

import json
import unittest.mock
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import UserError
from shards.dataset import Dataset, Shard
from training.devices.free_memory import hold_to
from training.evaluation.evaluator import Evaluator
from training.preflight import ids
from training.preflight.disk import DiskNeed
from training.preflight.memory import StepMemory
from training.preflight.prediction import Prediction
from training.saving import checkpoint

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("more", [(), ("--optimizer", "adam", "--accumulation_steps", "2", "--dtype", "bfloat16")])
def test_the_trial_step_leaves_no_trace(command: Any, more: tuple[str, ...]) -> None:
    """Fresh and resumed, the run with the trial is bit for bit the one without."""
    for out, preflight in (("with", "true"), ("without", "false")):
        flags = ("--out_dir", out, "--preflight", preflight, *more)
        assert command.call(*flags, "--max_steps", "5").returncode == 0
        done = command.call(*flags, "--resume", "--max_steps", "9")
        assert done.returncode == 0, done.stderr
        assert ("one step of" in done.stdout) is (preflight == "true")
    assert command.rows("with") == command.rows("without")
    ours, theirs = (checkpoint.load(command.directory / out / "ckpt.pth") for out in ("with", "without"))
    for key in ("model", "optimizer", "rng"):
        torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=0)


def test_a_dry_run_says_what_would_happen_and_trains_nothing(command: Any) -> None:
    done = command.call("--dry_run", "--max_steps", "1000")
    assert done.returncode == 0, done.stderr
    assert "one step of 51 tokens takes about" in done.stdout and "1,000 steps to do, 51,000 tokens" in done.stdout
    assert "parameters" in done.stdout and "memory:" in done.stdout and "free" in done.stdout
    assert {path.name for path in (command.directory / "out").rglob("*")} <= {".lock"}
    assert command.call("--max_steps", "3").returncode == 0  # nothing in the way
    before = (command.directory / "out" / "ckpt.pth").read_bytes()
    dry = command.call("--resume", "--dry_run", "--max_steps", "7")
    assert dry.returncode == 0 and "4 steps to do" in dry.stdout
    assert (command.directory / "out" / "ckpt.pth").read_bytes() == before
    assert len(command.rows()) == 3


def test_a_disk_without_room_for_the_checkpoints_is_refused_before_anything_is_written(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.preflight.disk.shutil.disk_usage", lambda path: Usage(10**9, 0, 10**6))
    done = command.call("--keep_last", "4")
    assert done.returncode == 2
    for text in ("out: the run will write", "4 checkpoints of", "--keep_last", "--out_dir", "1.00\u202fMB are free"):
        assert text in done.stderr, text
    assert not (command.directory / "out" / "metrics.jsonl").exists()
    assert command.call("--keep_last", "1", "--preflight", "false").returncode == 0


def test_a_checkpoint_is_as_large_as_predicted(command: Any) -> None:
    done = command.call("--max_steps", "3", "--keep_last", "1")
    predicted = float(done.stdout.split("a checkpoint of ")[1].split("\u202f")[0])
    actual = (command.directory / "out" / "ckpt.pth").stat().st_size / 1000
    assert 0.85 * actual < predicted < 1.15 * actual


def test_a_step_beyond_the_memory_budget_is_refused_with_the_way_out(command: Any) -> None:
    done = command.call("--memory_budget", "1MB")
    assert done.returncode == 2
    for text in ("batch_size 3: a step of 3 x 17 tokens", "1.00\u202fMB may be used on cpu", "smaller model"):
        assert text in done.stderr
    assert not (command.directory / "out" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        (("--batch_size", "12"), "Give --batch_size 4 --accumulation_steps 3 (the same samples"),
        (("--batch_size", "12", "--global_batch_size", "24"), "Give --batch_size 4 (the same samples"),
    ],
)
def test_a_step_beyond_the_memory_budget_is_told_the_size_that_fits(
    command: Any, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], advice: str
) -> None:
    """100 fixed, 150 a sequence: of 900 bytes 828 are used, which hold four; and the advice is followed."""
    monkeypatch.setattr("training.preflight.checks.step_memory", lambda *args: StepMemory(100, 150))
    done = command.call(*flags, "--memory_budget", "900")
    assert done.returncode == 2 and advice in done.stderr, done.stderr
    named = advice.removeprefix("Give ").split(" (")[0].split()
    assert command.call(*flags, *named, "--memory_budget", "900", "--max_steps", "1").returncode == 0


def test_a_gpu_is_held_to_the_budget(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=80 * 10**9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: shares.append(given))
    hold_to(24 * 10**9, torch.device("cuda", 3))
    hold_to(None, torch.device("cuda"))
    hold_to(10**12, torch.device("cuda"))
    hold_to(10, torch.device("cpu"))
    assert shares == [(0.3, 3), (1.0, None), (1.0, None)]
    held = unittest.mock.Mock()
    monkeypatch.setattr("training.run.hold_to", held)
    assert command.call("--memory_budget", "24GB", "--max_steps", "1").returncode == 0
    held.assert_called_once_with(24 * 10**9, torch.device("cpu"))


def test_a_token_id_outside_the_vocabulary_is_found_before_the_run(command: Any, make_dataset: Any) -> None:
    documents = [np.append(np.arange(7, 40), 0) for _ in range(40)]
    documents[39][5] = 281
    path = make_dataset("beyond", documents)
    done = command.call("--train_data_path", str(path))
    assert done.returncode == 2
    assert "token id 281" in done.stderr and "vocabulary of 280" in done.stderr and "beyond" in done.stderr
    assert not (command.directory / "out" / "metrics.jsonl").exists()


def test_ids_are_read_once_until_the_files_change(dataset: Path, tmp_path: Path, monkeypatch: Any) -> None:
    np.array([5, 9, 7], "<u2").tofile(tmp_path / "a.bin")
    assert ids.id_range(Dataset.open(tmp_path / "a.bin"), tmp_path) == (0, 9)
    scan = unittest.mock.Mock(side_effect=ids._scan)
    monkeypatch.setattr(ids, "_scan", scan)
    assert ids.id_range(Dataset.open(tmp_path / "a.bin"), tmp_path) == (0, 9) and not scan.called
    np.array([5, 300, 7], "<u2").tofile(tmp_path / "a.bin")
    assert ids.id_range(Dataset.open(tmp_path / "a.bin"), tmp_path) == (0, 300) and scan.call_count == 1
    with pytest.raises(UserError, match="token id 300"):
        ids.check_ids(Dataset.open(tmp_path / "a.bin"), 300, tmp_path)
    ids.check_ids(Dataset.open(tmp_path / "a.bin"), 301, tmp_path)
    everything = np.concatenate([shard.tokens for shard in Dataset.open(dataset).shards])
    assert ids.id_range(Dataset.open(dataset), tmp_path) == (int(everything.min()), int(everything.max()))


def test_negative_ids_are_found_too(tmp_path: Path) -> None:
    """int32 shards can hold them; uint16 cannot."""

    tokens = np.array([4, -1, 2], np.int32)
    shard = Shard(tmp_path, tokens, np.zeros(1, np.int64), np.array([3]), None)
    with pytest.raises(UserError, match="token id -1"):
        ids.check_ids(Dataset(tmp_path, "train", [shard], "signed"), 10, tmp_path)


def test_the_predicted_time_counts_steps_and_validations() -> None:
    need = DiskNeed(1, 2, 3)
    told = Prediction(10, 100, 50, 2.0, 0.0, 5, 600, 1, 2, need)
    assert told.run_seconds == pytest.approx(50 * 2.0 + 5 * (600 / 100 * 2.0 / 3))
    clock = Prediction(10, 100, None, 2.0, 60.0, 0, 600, 1, 2, need)
    assert clock.run_seconds == 60 and "30 steps to do, 3,000 tokens" in clock.lines()[1]


@pytest.mark.parametrize(("ema", "passes"), [("false", 3), ("true", 6)])
def test_an_average_of_the_weights_is_validated_too(
    command: Any, monkeypatch: pytest.MonkeyPatch, ema: str, passes: int
) -> None:
    """In 12 steps, after 5, 10 and 12; as many passes over the data are predicted as the run then makes."""
    predicted, made, run = [], [], Evaluator.run

    def counted(self: Evaluator, *arguments: Any) -> Any:
        made.append(self)
        return run(self, *arguments)

    def spy(**figures: Any) -> Prediction:
        predicted.append(figures["validations"])
        return Prediction(**figures)

    monkeypatch.setattr("training.preflight.checks.Prediction", spy)
    monkeypatch.setattr(Evaluator, "run", counted)
    assert command.call("--use_ema", ema).returncode == 0
    assert predicted == [passes] and len(made) == passes


def test_the_range_of_a_read_only_dataset_is_kept_with_the_run(tmp_path: Path, monkeypatch: Any) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    np.array([5, 9], "<u2").tofile(home / "b.bin")
    monkeypatch.setattr("shards.plan_place.os.access", lambda path, mode: home not in Path(path).parents)
    assert ids.id_range(Dataset.open(home / "b.bin"), out) == (0, 9)
    (record,) = out.rglob("ids-*.json")
    assert json.loads(record.read_text()) == [0, 9] and not list(home.rglob("*.json"))
