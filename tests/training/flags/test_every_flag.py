"""Every flag of train.py changes what it says: one case a flag, and no flag without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import train
from foundation.config import load_config
from foundation.flags import FlagSet
from tests.training.flags import cases_model, cases_running, cases_training
from tests.training.flags.trying import Tried, Trier
from training.config import TrainFlags, TrainingConfig

CASES: dict[str, Callable[[Trier], None]] = {**cases_model.CASES, **cases_training.CASES, **cases_running.CASES}
MASKING = ("mlm_probability", "mask_replace_prob", "random_replace_prob", "whole_word_mask")
ELSEWHERE = {
    "fsdp": "test_sharded.py",
    "process_timeout": "test_endings.py",
    **dict.fromkeys(("task", *MASKING), "test_objective.py"),
    **dict.fromkeys(("truncation", "layer_lr_decay", "freeze_layers"), "finetuning/test_classify.py"),
    **dict.fromkeys(("seeds", "chain"), "finetuning/test_chain.py"),
    "init_from": "finetuning/test_init_from.py",
    "chat_plain_text": "tasks/test_chat.py",
}
"""Flags that take several processes or another task to show what they change, and the file that does."""
BASE: dict[Any, Tried] = {}


@pytest.fixture
def run(command: Any, make_dataset: Any, monkeypatch: pytest.MonkeyPatch) -> Trier:
    """Runs of three steps in this process."""
    return Trier(command, make_dataset, monkeypatch, BASE)


@pytest.mark.parametrize("flag", sorted(CASES))
def test_the_flag_changes_what_it_says(flag: str, run: Trier) -> None:
    CASES[flag](run)


MATECONV = {
    "epochs": "15", "batch_size": "32", "learning_rate": "3e-4", "optimizer_type": "adamw", "lr_scheduler": "cosine",
    "min_lr": "1e-5", "warmup_iters": "100", "weight_decay": "0.1", "grad_clip": "1.0", "accumulation_steps": "1",
    "dtype": "bfloat16", "use_ema": "true", "ema_decay": "0.999", "early_stopping": "true", "patience": "5",
    "max_seq_len": "256", "eval_interval": "100", "save_interval": "100", "log_interval": "10", "out_dir": "elsewhere",
    "data_path": "data", "val_data_path": "other", "tokenizer_path": "tokens", "use_wandb": "true",
    "wandb_project": "poems", "wandb_run_name": "exp1", "device": "cpu", "seed": "7", "dropout": "0.1",
    "hidden_size": "64",
}  # fmt: skip
"""Names that MateConv's users type or have in their config.yaml, with its values."""


def test_the_names_of_mateconv_are_understood_as_flags_and_in_the_file(tmp_path: Path) -> None:
    """`data_path`, `optimizer_type`, `min_lr` and `warmup_iters` are other names of ours; each arrives in its place."""
    flags = [word for name, value in MATECONV.items() for word in (f"--{name}", value)]
    (tmp_path / "empty.yaml").touch()
    flags += ["--config", str(tmp_path / "empty.yaml")]
    by_flag = load_config("train.py", "", train.SECTIONS, TrainFlags, flags)
    sections = {
        section: {name: value for name, value in MATECONV.items() if kind.key_of(name) in kind.model_fields}
        for section, kind in train.SECTIONS.items()
    }
    assert sum(map(len, sections.values())) == len(MATECONV)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(sections))
    by_file = load_config("train.py", "", train.SECTIONS, TrainFlags, ["--config", str(tmp_path / "c.yaml")])
    assert by_file.sections == by_flag.sections
    training = by_file.get(TrainingConfig)
    assert (training.epochs, training.batch_size, training.learning_rate) == (15, 32, 3e-4)
    assert (training.min_learning_rate, training.warmup_steps, training.use_ema) == (1e-5, 100, True)


def test_every_flag_has_a_case() -> None:
    flags = set(FlagSet(train.SECTIONS, TrainFlags).owner)
    assert set(CASES) | set(ELSEWHERE) == flags
    for flag, file in ELSEWHERE.items():
        assert f'"--{flag}"' in (Path(__file__).resolve().parents[1] / file).read_text()
