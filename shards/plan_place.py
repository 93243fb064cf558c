"""Where what was computed once about a dataset is kept: beside the dataset, or elsewhere when that is read-only."""

from __future__ import annotations

import os
from pathlib import Path

from foundation.errors import UserError

NAME = ".plans"


def cache_places(dataset: Path, fallback: Path) -> list[Path]:
    """Directories to look in, the preferred one first: in the dataset's directory (beside a single `.bin`), then in
    `fallback`."""
    home = dataset if dataset.is_dir() else dataset.parent
    return list(dict.fromkeys([home / NAME, fallback / NAME]))


def first_writable(places: list[Path]) -> Path:
    """The first of `places` that takes files; it is made. `UserError` when none does."""
    problems = []
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problems.append(f"{place}: {error.strerror}")
            continue
        if os.access(place, os.W_OK):
            return place
        problems.append(f"{place}: not writable")
    raise UserError("; ".join(problems) + "; choose an --out_dir that can be written to")
