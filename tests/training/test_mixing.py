"""What a run reads: packing, document masks and mixtures of datasets, as the command takes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.manifest import Manifest
from shards.planned import PlannedSamples
from shards.token_stream import IGNORE
from tests.training.conftest import Command, random_documents, write_dataset
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe
from training.batching.datasets import open_data
from training.batching.samples import open_samples, shares_of
from training.config import DataConfig, TrainingConfig
from training.saving import checkpoint
from training.tasks.base import Task
from training.tasks.choose import choose_task

Make = Callable[..., Path]


def task_of(config: DataConfig) -> Task:
    return choose_task(open_data(config), config, TrainingConfig())


@pytest.fixture
def several(make_dataset: Make, tokenizer: Tokenizer) -> list[str]:
    """Two datasets of one tokenizer."""
    size = tokenizer.vocab_size
    return [
        str(make_dataset(name, random_documents(seed, 41, size), random_documents(seed + 1, 7, size)))
        for name, seed in (("one", 11), ("two", 21))
    ]


def saved(command: Command, out: str = "out") -> dict[str, Any]:
    return checkpoint.load(command.directory / out / "ckpt.pth")


def test_a_mask_changes_the_loss_and_nothing_else_of_the_data(command: Command) -> None:
    for flag in ("true", "false"):
        assert command.call("--out_dir", flag, "--max_steps", "5", "--document_mask", flag).returncode == 0
    masked, plain = command.rows("true"), command.rows("false")
    assert [row["tokens"] for row in masked] == [row["tokens"] for row in plain]
    assert masked[-1]["loss"] != plain[-1]["loss"] and masked[-1]["val_loss"] != plain[-1]["val_loss"]


def test_best_fit_packs_resumes_exactly_and_refuses_another_plan(command: Command, make_dataset: Make) -> None:
    data = make_dataset("own", random_documents(5, 61, 280), random_documents(6, 9, 280))
    options = ["--packing", "best_fit", "--train_data_path", str(data)]
    whole = command.call(*options, "--out_dir", "whole")
    assert whole.returncode == 0 and "% padding" in whole.stdout, whole.stderr
    assert command.call(*options, "--max_steps", "5", "--lr_scheduler", "constant").returncode == 0
    assert command.call(*options, "--lr_scheduler", "constant", "--out_dir", "same").returncode == 0
    resumed = command.call(*options, "--lr_scheduler", "constant", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    losses = [[row["loss"] for row in command.rows(out)] for out in ("out", "same")]
    assert losses[0] == losses[1] and len(losses[0]) == 12
    (plan,) = (path for path in (data / ".plans").iterdir() if path.is_dir())
    assert saved(command)["plan"]
    rows = command.rows("whole")
    predicted = rows[0]["tokens"]
    assert 0 < predicted < 3 * 17, "padding is no target"
    text = (plan / "plan.json").read_text()
    (plan / "plan.json").write_text(text.replace('"cut": ', '"cut": 1'))
    refused = command.call(*options, "--resume", "--max_steps", "14", "--lr_scheduler", "constant")
    assert refused.returncode == 2 and "plan: " in refused.stderr and "--allow_change plan" in refused.stderr


def test_a_read_only_dataset_keeps_its_plan_in_the_run_directory(several: list[str], tmp_path: Path) -> None:
    (Path(several[0]) / ".plans").write_text("in the way")
    config = DataConfig(train_data_path=(several[0],), packing="best_fit", max_seq_len=16)
    samples = open_samples(task_of(config), tmp_path / "out", None)
    assert samples.plan and (tmp_path / "out" / ".plans").is_dir()
    whole = samples.batch(np.arange(samples.samples_per_epoch)).next_tokens
    assert samples.tokens_a_row == pytest.approx((whole != IGNORE).sum() / len(whole)) and samples.tokens_a_row < 16


def test_a_mixture_has_exact_shares_and_resumes_exactly(command: Command, several: list[str]) -> None:
    weighted = [f"{several[0]}=0.7", f"{several[1]}=0.3"]
    options = ["--train_data_path", *weighted, "--lr_scheduler", "constant"]
    assert command.call(*options, "--max_steps", "5").returncode == 0
    assert command.call(*options, "--resume").returncode == 0
    whole = command.call(*options, "--out_dir", "whole")
    assert whole.returncode == 0 and "70.00%" in whole.stdout
    assert [row["loss"] for row in command.rows()] == [row["loss"] for row in command.rows("whole")]
    validation = sum(Dataset.open(path, "val").tokens for path in several)
    assert f"{validation:,} to validate on" in whole.stdout
    config = DataConfig(train_data_path=tuple(weighted), max_seq_len=17)
    samples = open_samples(task_of(config), Path(), None)
    for first in (0, 30):
        places = [piece.path for (piece,) in samples.locate(np.arange(first, first + 10))]
        assert [places.count(path) for path in several] == [7, 3]


def test_a_changed_mixture_is_refused_or_goes_on_where_each_dataset_was(command: Command, several: list[str]) -> None:
    one, two = several
    begun = command.call("--train_data_path", f"{one}=3", f"{two}=1", "--max_steps", "4")
    assert begun.returncode == 0, begun.stderr
    options = ["--resume", "--max_steps", "8", "--train_data_path", f"{one}=1", f"{two}=1"]
    refused = command.call(*options)
    assert refused.returncode == 2 and "--allow_change train_data_path" in refused.stderr
    assert f"{one} 75.00%, {two} 25.00% in the checkpoint" in refused.stderr
    allowed = command.call(*options, "--allow_change", "train_data_path")
    assert allowed.returncode == 0, allowed.stderr
    assert "mixture from sample 12 on" in allowed.stdout
    history = saved(command)["state"]["mixture"]
    assert [stretch["sample"] for stretch in history] == [0, 12]
    assert [part["first"] for part in history[1]["parts"]] == [9, 3]
    told = [json.loads(line) for line in (command.directory / "out" / "history.jsonl").read_text().splitlines()]
    starts = [event["dataset"] for event in told if "dataset" in event]
    assert starts == [f"{one} 75.00%, {two} 25.00%", f"{one} 50.00%, {two} 50.00%"]
    again = command.call("--resume", "--max_steps", "9", "--train_data_path", f"{one}=2", f"{two}=2")
    assert again.returncode == 0, "the same proportions"
    dropped = command.call("--resume", "--max_steps", "10", "--train_data_path", two)
    assert dropped.returncode == 2 and f"{two} 100.00% now" in dropped.stderr


def test_one_dataset_may_get_company(command: Command, several: list[str]) -> None:
    assert command.call("--train_data_path", several[0], "--max_steps", "4").returncode == 0
    options = ["--resume", "--max_steps", "6", "--allow_change", "train_data_path", "--train_data_path", *several]
    assert command.call(*options).returncode == 0
    parts = saved(command)["state"]["mixture"][1]["parts"]
    assert [part["first"] for part in parts] == [12, 0]


def test_datasets_that_cannot_be_mixed(tmp_path: Path, several: list[str]) -> None:
    other = train_byte_bpe(["another text for another tokenizer " * 20], 270)
    foreign = write_dataset(tmp_path / "foreign", other, random_documents(1, 9, 260))
    with pytest.raises(UserError, match="different tokenizers"):
        open_data(DataConfig(train_data_path=(several[0], str(foreign))))
    shutil.copytree(several[0], tmp_path / "copy")
    for name in ("roles", "roles_val"):
        shutil.copytree(several[1], tmp_path / name)
        manifest = Manifest.load(tmp_path / name)
        manifest.model_copy(update={"roles": {}, "terminator": []}).save(tmp_path / name)
    told = r"different roles \(end_of_text 0, now none\)"
    with pytest.raises(UserError, match=told):
        open_data(DataConfig(train_data_path=(several[0], str(tmp_path / "roles"))))
    with pytest.raises(UserError, match=told):
        open_data(DataConfig(train_data_path=(several[0],), val_data_path=tmp_path / "roles_val"))
    with pytest.raises(UserError, match="the same data"):
        open_data(DataConfig(train_data_path=(several[0], str(tmp_path / "copy"))))


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (("a=1", "b"), "b without a weight"),
        (("a=0", "b=1"), "a: its weight must be above 0"),
        (("a=1", "a=2"), "names a dataset twice"),
    ],
)
def test_weights_that_contradict_each_other(paths: tuple[str, ...], problem: str) -> None:
    (found,) = DataConfig(train_data_path=paths).problems()
    assert problem in found


def test_paths_and_weights() -> None:
    sources = DataConfig(train_data_path=("a/b=0.25", "c=x")).sources
    assert sources == [(Path("a/b"), Fraction(1, 4)), (Path("c=x"), None)]
    assert DataConfig(train_data_path=Path("dataset/demo")).train_data_path == ("dataset/demo",)


@pytest.mark.parametrize("nothing", [None, [], 3])
def test_no_dataset_is_no_setting(nothing: Any) -> None:
    with pytest.raises(ValidationError):
        DataConfig(train_data_path=nothing)


def test_shares() -> None:
    third = Fraction("0.333")
    assert shares_of([Fraction("0.7"), Fraction("0.3")], [1, 1]) == [7, 3]
    assert shares_of([third, 1 - third], [1, 1]) == [333, 667]
    assert shares_of([None, None], [100, 300]) == [1, 3]
    assert shares_of([None, None], [1, 10**9]) == [1, 999_998]
    assert shares_of([None, None], [5, 500_000]) == [5, 499_994], "five samples are seen once while the others are"
    assert shares_of([None, None], [1000, 2001]) == [833, 1667]
    with pytest.raises(UserError, match="round them"):
        shares_of([Fraction("0.3333333333"), Fraction("0.6666666667")], [1, 1])


def test_best_fit_in_a_mixture(several: list[str], tmp_path: Path) -> None:
    config = DataConfig(train_data_path=(f"{several[0]}=2", f"{several[1]}=1"), packing="best_fit", max_seq_len=64)
    samples = open_samples(task_of(config), tmp_path, None)
    assert all(isinstance(part, PlannedSamples) for part in samples._samples)
    batch = samples.batch(np.arange(6))
    assert batch.inputs.shape == (6, 64) and len(batch.pieces) > 7
