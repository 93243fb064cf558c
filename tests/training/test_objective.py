"""The settings of the task and its masking: what they say and refuse."""

from __future__ import annotations

import pytest

import train
from foundation.config import load_config
from foundation.errors import UserError
from training.config import TrainFlags, TrainingConfig

FLAGS = {
    "--task": "mlm",
    "--mlm_probability": "0.3",
    "--mask_replace_prob": "0.7",
    "--random_replace_prob": "0.3",
    "--whole_word_mask": "true",
}


def settings_of(flags: dict[str, str]) -> TrainingConfig:
    words = [word for pair in flags.items() for word in pair]
    return load_config("train.py", "", train.SECTIONS, TrainFlags, words).get(TrainingConfig)


def test_the_flags_arrive() -> None:
    found = settings_of(FLAGS)
    assert (found.task, found.mlm_probability, found.whole_word_mask) == ("mlm", 0.3, True)
    assert (found.mask_replace_prob, found.random_replace_prob) == (0.7, 0.3) and not found.problems()


def test_shares_beyond_everything_are_a_problem() -> None:
    (problem,) = settings_of({**FLAGS, "--random_replace_prob": "0.31"}).problems()
    assert "more than 1 together" in problem


@pytest.mark.parametrize("flag,value", [("--mlm_probability", "0"), ("--mlm_probability", "1"), ("--task", "mln")])
def test_what_makes_no_sense_is_refused(flag: str, value: str) -> None:
    with pytest.raises(UserError, match=flag.lstrip("-")):
        settings_of({flag: value})
