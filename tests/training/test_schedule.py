"""The learning rate against formulas written from their definitions alone."""

from __future__ import annotations

import itertools
import math

import pytest

from training.config import TrainingConfig
from training.optimization.schedule import learning_rate


def config(**values: object) -> TrainingConfig:
    return TrainingConfig(**{"learning_rate": 0.02, "warmup_steps": 7, **values})


def test_warmup_rises_in_equal_parts_and_reaches_the_peak() -> None:
    rates = [learning_rate(step, 101, config()) for step in range(8)]
    assert rates[6] == pytest.approx(0.02)
    assert [later - earlier for earlier, later in itertools.pairwise(rates[:7])] == pytest.approx([0.02 / 7] * 6)
    assert rates[0] == pytest.approx(0.02 / 7)


@pytest.mark.parametrize("step", [7, 8, 53, 99, 100])
def test_cosine_is_half_a_period_of_a_cosine(step: int) -> None:
    # From the peak at step 7 to the low at step 100: mean plus amplitude times the cosine of the angle.
    angle = 180.0 * (step - 7) / 93
    expected = (0.02 + 0.003) / 2 + (0.02 - 0.003) / 2 * math.cos(math.radians(angle))
    assert learning_rate(step, 101, config(min_learning_rate=0.003)) == pytest.approx(expected, rel=1e-12)


def test_ends() -> None:
    assert learning_rate(100, 101, config()) == pytest.approx(0.002)  # a tenth of the peak
    assert learning_rate(100, 101, config(lr_scheduler="linear", min_learning_rate=0.0)) == pytest.approx(
        0.0, abs=1e-15
    )
    assert learning_rate(100, 101, config(lr_scheduler="constant")) == 0.02


def test_linear_falls_in_equal_parts() -> None:
    rates = [learning_rate(step, 101, config(lr_scheduler="linear")) for step in range(7, 101)]
    falls = [earlier - later for earlier, later in itertools.pairwise(rates)]
    assert falls == pytest.approx([0.018 / 93] * 93)


@pytest.mark.parametrize("total", [1, 2, 7, 8])
def test_a_run_shorter_than_its_warmup_has_rates(total: int) -> None:
    rates = [learning_rate(step, total, config()) for step in range(total)]
    assert all(0 < rate <= 0.02 for rate in rates)
    assert learning_rate(0, 1, config(warmup_steps=0)) == 0.02
