"""The temperature against a search of the likelihood itself, the calibration error against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.finetuning.calibration import (
    BINS,
    HIGHEST,
    LOWEST,
    confidence_sums,
    expected_calibration_error,
    fit_temperature,
)


def alone(tensor: Tensor) -> Tensor:
    return tensor


def scores(seed: int, scale: float, count: int = 311, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Logits `scale` times as sure as they should be: labels are drawn from the softmax of the unscaled ones."""
    chance = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=chance)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=chance).squeeze(1)
    return logits * scale, labels


@pytest.mark.parametrize("seed,scale", [(0, 1.0), (1, 3.0), (2, 0.4)])
def test_no_other_temperature_is_likelier(seed: int, scale: float) -> None:
    logits, labels = scores(seed, scale)
    found = fit_temperature(logits, labels, alone)
    grid = np.geomspace(LOWEST, HIGHEST, 4001)
    nats = [float(cross_entropy(logits.double() / t, labels)) for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(nats))], rel=2e-3)
    assert found == pytest.approx(scale, rel=0.25)  # it was scaled by that


def test_ranks_find_what_one_process_finds() -> None:
    logits, labels = scores(3, 2.0)
    whole = fit_temperature(logits, labels, alone)
    # Another rank with the same documents doubles every sum; the place of its zero stays.
    assert fit_temperature(logits, labels, lambda tensor: 2 * tensor) == pytest.approx(whole)
    halves = [confidence_sums(logits[a:b], labels[a:b], whole) for a, b in ((0, 100), (100, 311))]
    assert torch.allclose(halves[0] + halves[1], confidence_sums(logits, labels, whole))


def test_a_model_that_is_never_wrong_or_has_seen_nothing() -> None:
    sure = torch.eye(3).repeat(5, 1)
    assert fit_temperature(sure, sure.argmax(dim=1), alone) == pytest.approx(LOWEST)
    assert fit_temperature(sure, (sure.argmax(dim=1) + 1) % 3, alone) == pytest.approx(HIGHEST)
    assert fit_temperature(sure[:0], torch.zeros(0, dtype=torch.int64), alone) == 1.0


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_calibration_error_is_the_papers(temperature: float) -> None:
    """Bin by bin, as equation 3 of Guo et al. has it."""
    logits, labels = scores(4, 3.0)
    chances = (logits.double() / temperature).softmax(dim=1)
    confidence, said = chances.max(dim=1)
    expected = 0.0
    for number in range(BINS):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if inside.any():
            gap = (said[inside] == labels[inside]).double().mean() - confidence[inside].mean()
            expected += float(inside.double().mean() * gap.abs())
    sums = confidence_sums(logits, labels, temperature)
    assert expected_calibration_error(sums) == pytest.approx(expected)
    nats = cross_entropy(logits.double() / temperature, labels, reduction="sum")
    assert float(sums[-1]) == pytest.approx(float(nats))
