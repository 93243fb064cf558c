"""The training samples of a run: its datasets packed as configured, mixed by weight, continued where they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

from foundation import fingerprint
from foundation.errors import UserError
from foundation.logs import get_logger
from shards.mixture import LONGEST_PATTERN, Mixture, Part, Stretch, lowest_terms, next_stretch
from shards.planned import RowsOfPlan
from shards.samples import Samples
from training.tasks.base import Task

log = get_logger("training")

NATURAL, FINEST = 10_000, 20
"""Places in the pattern of datasets that are mixed by size, so that shares are rounded to hundredths of a percent; and
how many of them the smallest has, if a pattern may be so long."""


class TrainingSamples(Mixture):
    """The samples of a run, with the history of its mixture (plain values, for checkpoints)."""

    def __init__(self, samples: Sequence[Samples], history: Sequence[Stretch]) -> None:
        super().__init__(samples, history[-1])
        self.history = [stretch.plain() for stretch in history]
        self._before = history[-2] if len(history) > 1 else None
        self._plans = [part for part in samples if isinstance(part, RowsOfPlan)]

    @property
    def plan(self) -> str:
        """Fingerprint of the packing plans; empty without any."""
        return fingerprint.of_json([part.plan.summary.identity for part in self._plans]) if self._plans else ""

    @property
    def tokens_a_row(self) -> float:
        """Tokens of a sample on average, padding left out."""
        filled = [1 - part.plan.summary.padding if isinstance(part, RowsOfPlan) else 1.0 for part in self._samples]
        shares = self.stretch.shares
        mean = sum(share * part for share, part in zip(shares, filled, strict=True)) / sum(shares)
        return mean * self.sequence_length

    @property
    def where(self) -> str:
        """The datasets' paths, and their shares where there are several."""
        return self.stretch.describe() if len(self.stretch.parts) > 1 else self.stretch.parts[0].path

    def announce(self) -> None:
        """Say how documents are packed and datasets mixed."""
        for part in self._plans:
            plan = part.plan.summary
            log.info(
                "packing: %s, %s rows of %d with %s pieces, %.2f%% padding, %s documents longer than a row %s",
                part.dataset.path,
                f"{plan.rows:,}",
                plan.sequence_length,
                f"{plan.pieces:,}",
                100 * plan.padding,
                f"{plan.cut:,}",
                plan.cutting.get("longer", "cut"),
            )
        if self._before is not None:
            log.info("mixture from sample %d on: %s", self.stretch.sample, self.stretch.describe())
            log.info("mixture before, from sample %d: %s", self._before.sample, self._before.describe())
        elif len(self.stretch.parts) > 1:
            log.info("mixture: %s", self.where)


def open_samples(task: Task, run_directory: Path, saved: Mapping[str, Any] | None) -> TrainingSamples:
    """The samples of `task` from its datasets; `saved` is the checkpoint that is continued.

    Packing plans that are not there yet are made, beside the datasets or in `run_directory`. Every process calls it.
    """
    data = task.data
    samples = [task.samples(dataset, run_directory) for dataset in data.datasets]
    shares = shares_of(data.weights, [part.samples_per_epoch for part in samples])
    parts = tuple(
        Part(dataset.identity, str(dataset.path), share, 0)
        for dataset, share in zip(data.datasets, shares, strict=True)
    )
    return TrainingSamples(samples, _history(parts, saved))


def _history(parts: tuple[Part, ...], saved: Mapping[str, Any] | None) -> list[Stretch]:
    """The stretches so far; the last one is of `parts`, begun anew where the mixture is not the saved one."""
    history = [Stretch.from_plain(value) for value in saved["state"].get("mixture") or ()] if saved else []
    if not history:
        return [Stretch(0, parts)]
    last = history[-1]
    if last.same_mixture(Stretch(0, parts)):
        return history
    assert saved is not None
    return [*history, next_stretch(history, parts, saved["sample"])]


def shares_of(weights: Sequence[Fraction | None], sizes: Sequence[int]) -> list[int]:
    """Whole shares in the proportions of `weights`, exactly; without weights in those of `sizes`, rounded.

    `UserError` for weights whose pattern would be longer than a million samples.
    """
    given = [weight for weight in weights if weight is not None]
    if not given:
        whole, least = sum(sizes), max(1, min(sizes))
        places = min(LONGEST_PATTERN - len(sizes), max(NATURAL, FINEST * whole // least))
        return lowest_terms([max(1, round(places * size / whole)) for size in sizes])
    scale = lcm(*(weight.denominator for weight in given))
    shares = lowest_terms([int(weight * scale) for weight in given])
    if sum(shares) > LONGEST_PATTERN:
        raise UserError(
            f"train_data_path: the weights {', '.join(f'{float(weight):g}' for weight in given)} repeat only after "
            f"{sum(shares):,} samples; round them to four digits"
        )
    return shares
