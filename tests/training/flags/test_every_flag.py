"""Every flag of train.py changes what it says: one case a flag, and no flag without one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import train
from foundation.config import Loaded, load_config
from foundation.flags import FlagSet
from tests.training.flags import cases_model, cases_running, cases_training
from tests.training.flags.mateconv import BEHIND, FILE, PARSER, TYPED
from tests.training.flags.trying import Tried, Trier
from training.config import TrainFlags
from training.settings.base import Settings

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


def test_every_argument_of_mateconv_is_understood(tmp_path: Path) -> None:
    """All of them in one command; each arrives in its place."""
    typed = {name: TYPED.get(name, True if default is False else default) for name, default in PARSER.items()}
    typed["config"] = str(tmp_path / "empty.yaml")
    (tmp_path / "empty.yaml").touch()
    flags = [word for name, value in typed.items() for word in (f"--{name}", str(value)) if word != "True"]
    loaded = load_config("train.py", "", train.SECTIONS, TrainFlags, flags)
    parts = [*loaded.sections.values(), loaded.flags]
    problems = [problem for part in parts if isinstance(part, Settings) for problem in part.problems()]
    assert len(typed) == 31 and not problems
    for name, value in typed.items():
        if name != "config":
            assert arrived(loaded, name) in (value, (value,), Path(str(value))), name


def test_the_defaults_that_are_not_mateconvs_are_told() -> None:
    """The table of docs/training.md has them all, and no other."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--(\w+)` \| `([^`]+)` \| `([^`]+)`", text, re.MULTILINE)
    told = {name: (theirs, ours) for name, theirs, ours in rows}
    ours = load_config("train.py", "", train.SECTIONS, TrainFlags, ["--config", os.devnull])
    expected = {}
    for name, theirs in {**PARSER, **BEHIND}.items():
        here = arrived(ours, name) if name != "config" else None
        if here not in (theirs, (theirs,), Path(str(theirs))):
            expected[name] = (plain(theirs), plain(here))
    assert expected.pop("local_rank") == ("-1", "null"), "none, both"
    assert told == expected


def plain(value: Any) -> str:
    """A value as it is typed."""
    return "null" if value is None else value[0] if isinstance(value, tuple) else str(value)


def arrived(loaded: Loaded, name: str) -> Any:
    """The setting that MateConv calls `name`."""
    [part] = [
        part for part in (*loaded.sections.values(), loaded.flags) if part.key_of(name) in type(part).model_fields
    ]
    return getattr(part, part.key_of(name))


def test_every_key_of_mateconvs_file_is_understood(tmp_path: Path) -> None:
    """The file says what the flags say, also where its section has another name here."""
    values = {**PARSER, "train_data_path": PARSER["data_path"], "val_data_path": "val", "use_ema": True,
              "enable": True, "project": "poems", "run_name": "exp1"}  # fmt: skip
    document = {section: {key: values[key] for key in keys} for section, keys in FILE.items()}
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(document))
    by_file = load_config("train.py", "", train.SECTIONS, TrainFlags, ["--config", str(tmp_path / "theirs.yaml")])
    of_wandb = {"enable": "use_wandb", "project": "wandb_project", "run_name": "wandb_run_name"}
    for section, keys in FILE.items():
        for key in keys:
            here = arrived(by_file, of_wandb[key] if section == "wandb" else key)
            assert here in (values[key], (values[key],), Path(str(values[key]))), key


def test_every_flag_has_a_case() -> None:
    flags = set(FlagSet(train.SECTIONS, TrainFlags).owner)
    assert set(CASES) | set(ELSEWHERE) == flags
    for flag, file in ELSEWHERE.items():
        assert f'"--{flag}"' in (Path(__file__).resolve().parents[1] / file).read_text()
