"""Calibration: one temperature that makes a classifier's confidences what they say (Guo et al. 2017, arXiv 1706.04599).

N documents, L classes. Sums over documents are sums over ranks too, so that every rank finds the same temperature.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LOWEST, HIGHEST = 0.05, 20.0
"""The temperatures that are looked at; a model that is never wrong on the validation data would get 0."""
BINS = 15
"""Of equal width, as in the paper's figures."""

AddUp = Callable[[Tensor], Tensor]
"""The sum of a CPU tensor over ranks (`World.add_up_on_cpu`)."""


def fit_temperature(logits: Tensor, labels: Tensor, add_up: AddUp) -> float:
    """The temperature at which softmax(logits / temperature) gives `labels` (N,) int64 the highest likelihood.

    `logits` (N, L) are this rank's. In the inverse of the temperature the likelihood is convex, so that bisecting the
    sign of its slope finds the one minimum; where it lies outside the range, the range's end is given. 1.0 without
    documents. Costs O(50 N L), in float64.
    """
    exact = logits.double()
    if int(add_up(torch.tensor([float(len(labels))], dtype=torch.float64)).item()) == 0:
        return 1.0

    def slope(inverse: float) -> float:
        """d NLL / d inverse: the logit that is expected minus the one of the label, summed over documents."""
        weights = (exact * inverse).softmax(dim=1)  # (N, L)
        own = exact.gather(1, labels[:, None]).squeeze(1)  # (N,)
        return float(add_up(((weights * exact).sum(dim=1) - own).sum().reshape(1)).item())

    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(50):
        middle = (low * high) ** 0.5
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return float(1 / (low * high) ** 0.5)


def confidence_sums(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """What is known of the confidences in some documents, to be added up over all: (3 * BINS + 1,) float64.

    For each bin of the confidence in what is predicted: documents, sum of confidences, right ones; behind them the
    summed negative log-likelihood.
    """
    logs = (logits.double() / temperature).log_softmax(dim=1)
    confidence, predicted = logs.exp().max(dim=1)
    places = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # bins are open below, closed above
    sums = torch.zeros(3, BINS, dtype=torch.float64)
    ones = torch.ones_like(confidence)
    for row, values in zip(sums, (ones, confidence, (predicted == labels).double()), strict=True):
        row.index_add_(0, places, values)
    nats = -logs.gather(1, labels[:, None]).sum()
    return torch.cat([sums.flatten(), nats.reshape(1)])


def expected_calibration_error(sums: Tensor) -> float:
    """The mean distance of confidence and accuracy over BINS bins, weighted by documents (Naeini et al. 2015)."""
    documents, confidence, right = sums[: 3 * BINS].reshape(3, BINS)
    return float((confidence - right).abs().sum() / documents.sum().clamp(min=1))
