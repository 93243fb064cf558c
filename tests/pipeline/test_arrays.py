"""Finding places fast, against NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.arrays import places_of


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1003])
def test_places(size: int, share: float) -> None:
    mask = np.random.default_rng(size).random(size) < share
    for seen in (mask, np.append(mask, True), np.insert(mask, 0, True)[1:]):  # a mark at the end; a buffer unaligned
        assert places_of(seen).tolist() == np.flatnonzero(seen).tolist()
