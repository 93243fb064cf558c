"""Early stopping: a run that overfits by plan ends with the right validation, and best/ holds the best one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.circumstances import left_out
from tests.training.conftest import random_documents
from training.config import TrainingConfig
from training.evaluation.early_stopping import stopped_early, take_note
from training.saving import checkpoint
from training.state import RunState

OVERFIT = [
    *("--max_steps", "100", "--eval_interval", "6", "--save_interval", "1000", "--log_interval", "6"),
    *("--learning_rate", "0.01", "--lr_scheduler", "constant", "--weight_decay", "0"),
]


def end_by_hand(values: Sequence[float], patience: int, min_delta: float) -> int | None:
    """Index of the validation that ends the run: the `patience`-th in a row that is not the lowest by enough."""
    for last in range(patience - 1, len(values)):
        before, recent = values[: last + 1 - patience], values[last + 1 - patience : last + 1]
        reference = math.inf
        for value in before:
            if value < reference - min_delta:
                reference = value
        if all(not value < reference - min_delta for value in recent):
            return last
    return None


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
@pytest.mark.parametrize("min_delta", [0.0, 0.3])
def test_the_account_agrees_with_one_made_by_hand(patience: int, min_delta: float) -> None:
    """Every order of rises and falls, small and large, with values that are not finite between them."""
    generator = np.random.default_rng(8)
    config = TrainingConfig(early_stopping=True, patience=patience, min_delta=min_delta)
    ends = []
    for _ in range(200):
        values = [float(v) for v in 5 + np.cumsum(generator.normal(-0.1, 0.4, size=30))]
        for place in generator.integers(0, 30, size=2):
            values[place] = math.nan
        state, end = RunState(), None
        for number, value in enumerate(values):
            take_note(state, value, "val", min_delta)
            if stopped_early(config, state):
                end = number
                break
        assert end == end_by_hand(values, patience, min_delta)
        ends.append(end)
    assert len(set(ends)) > 5, "the runs end at different places"


def test_other_validation_data_begin_a_new_account() -> None:
    config, state = TrainingConfig(early_stopping=True, patience=2), RunState()
    for value, data in ((3.0, "a"), (4.0, "a"), (4.5, "b"), (4.6, "b")):
        take_note(state, value, data, 0.0)
        assert not stopped_early(config, state)
    take_note(state, 4.7, "b", 0.0)
    assert stopped_early(config, state)
    assert not stopped_early(TrainingConfig(early_stopping=False, patience=2), state)


@pytest.fixture
def overfit(command: Any, make_dataset: Callable[..., Path]) -> Any:
    """The command on six training documents: it learns the language first, then these six by heart."""
    train, validation = random_documents(1, 6, 280), random_documents(2, 11, 280)
    data = str(make_dataset("overfit", train, validation))
    command.base = [*left_out(command.base, {"train_data_path"}), *OVERFIT, "--train_data_path", data]
    return command


def ends_of(run: Path) -> tuple[int, int]:
    """The step of final/ and of best/."""
    configs = [json.loads((run / name / "config.json").read_text()) for name in ("final", "best")]
    return configs[0]["mateconv"]["step"], configs[1]["mateconv"]["step"]


@pytest.mark.parametrize("more", [[], ["--min_delta", "0.02"], ["--use_ema", "--ema_decay", "0.8"]])
def test_a_run_that_overfits_ends_at_the_right_validation(overfit: Any, more: list[str]) -> None:
    whole = overfit.call("--out_dir", "whole", *more)
    assert whole.returncode == 0, whole.stderr
    rows = overfit.rows("whole")
    key = "val_loss_ema" if "--use_ema" in more else "val_loss"
    values = [row[key] for row in rows]
    end = end_by_hand(values, 3, 0.02 if "--min_delta" in more else 0.0)
    assert end is not None and 3 < end < len(rows) - 2, f"the planted run falls and rises: {values}"

    done = overfit.call("--early_stopping", "--patience", "3", *more)
    assert done.returncode == 0, done.stderr
    assert overfit.rows() == rows[: end + 1]
    out, best = overfit.directory / "out", int(np.argmin(values[: end + 1]))
    assert ends_of(out) == (rows[end]["step"], rows[best]["step"]) and best < end
    saved = checkpoint.load(out / "ckpt.pth")
    assert saved["step"] == rows[end]["step"], "saved, although no checkpoint was due"
    assert saved["best"]["val_loss"] == values[best]
    assert "stopped early at step" in done.stdout and "in 3 validations" in done.stdout


def test_a_resumed_run_knows_that_it_stopped_and_goes_on_when_told(overfit: Any) -> None:
    assert overfit.call("--out_dir", "whole").returncode == 0
    early = ("--early_stopping", "--patience", "2", "--resume")
    assert overfit.call(*early).returncode == 0
    before = (overfit.directory / "out" / "metrics.jsonl").read_bytes()
    again = overfit.call(*early)
    assert again.returncode == 0 and "stopped early" in again.stdout and "--patience 4" in again.stdout
    assert (overfit.directory / "out" / "metrics.jsonl").read_bytes() == before
    longer = overfit.call("--resume", "--early_stopping", "false")
    assert longer.returncode == 0, longer.stderr
    assert overfit.rows() == overfit.rows("whole"), "as if it had never stopped"


def test_stopping_and_resuming_keeps_the_count(overfit: Any) -> None:
    """The run is cut two validations after its best one; resumed, it ends where the uncut run does."""
    early = ("--early_stopping", "--patience", "4")
    assert overfit.call("--out_dir", "whole", *early).returncode == 0
    end = overfit.rows("whole")[-1]["step"]
    assert overfit.call(*early, "--max_steps", str(end - 12)).returncode == 0
    assert checkpoint.load(overfit.directory / "out" / "ckpt.pth")["state"]["early"]["stale"] == 2
    assert overfit.call(*early, "--resume").returncode == 0
    assert overfit.rows()[-1] == overfit.rows("whole")[-1]
    assert ends_of(overfit.directory / "out") == ends_of(overfit.directory / "whole")


def test_without_anything_to_validate_on_it_is_refused(command: Any, make_dataset: Callable[..., Path]) -> None:
    documents = [np.append(np.arange(7, 40), 0) for _ in range(11)]
    done = command.call("--early_stopping", "--train_data_path", str(make_dataset("unsplit", documents)))
    assert done.returncode == 2 and "--val_data_path" in done.stderr and "early_stopping" in done.stderr
    assert not (command.directory / "out" / "metrics.jsonl").exists()
