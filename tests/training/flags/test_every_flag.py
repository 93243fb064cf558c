"""Every flag of train.py changes what it says: one case a flag, and no flag without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import train
from foundation.flags import FlagSet
from tests.training.flags import cases_model, cases_running, cases_training
from tests.training.flags.trying import Tried, Trier
from training.config import TrainFlags

CASES: dict[str, Callable[[Trier], None]] = {**cases_model.CASES, **cases_training.CASES, **cases_running.CASES}
ELSEWHERE = {"fsdp": "test_sharded.py", "process_timeout": "test_endings.py"}
"""Flags that take several processes to show what they change, and the file that does."""
BASE: dict[Any, Tried] = {}


@pytest.fixture
def run(command: Any, make_dataset: Any, monkeypatch: pytest.MonkeyPatch) -> Trier:
    """Runs of three steps in this process."""
    return Trier(command, make_dataset, monkeypatch, BASE)


@pytest.mark.parametrize("flag", sorted(CASES))
def test_the_flag_changes_what_it_says(flag: str, run: Trier) -> None:
    CASES[flag](run)


def test_every_flag_has_a_case() -> None:
    flags = set(FlagSet(train.SECTIONS, TrainFlags).owner)
    assert set(CASES) | set(ELSEWHERE) == flags
    for flag, file in ELSEWHERE.items():
        assert f'"--{flag}"' in (Path(__file__).resolve().parents[1] / file).read_text()
