"""Near duplicates against brute force over the same signatures, and against what people call similar."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.dedup.lsh import choose_bands, needed_agreement
from pipeline.dedup.minhash import ARRAY, signatures
from pipeline.dedup.near import NEIGHBOURS, near_duplicates
from pipeline.settings.dedup import DedupSettings

SETTINGS = DedupSettings(near_dedup=True)


class InMemory:
    """A part that was never written."""

    def __init__(self, values: npt.NDArray[np.uint8] | None) -> None:
        self._values = values

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """See `Part.array`."""
        return self._values if name == ARRAY else None


def found(values: npt.NDArray[np.uint8], scratch: Path, cut: int = 10**6, **options: Any) -> dict[int, int]:
    """Number of each near duplicate -> first document of its cluster."""
    wanted = options.pop("wanted", np.ones(len(values), np.bool_))
    parts = [InMemory(values[start : start + cut]) for start in range(0, len(values), cut)]
    similar, firsts = near_duplicates(SETTINGS, [*parts, InMemory(None)], wanted, scratch / "dedup", **options)
    assert not (scratch / "dedup").exists()
    return dict(zip(similar.tolist(), firsts.tolist(), strict=True))


def brute_force(values: npt.NDArray[np.uint8]) -> dict[int, int]:
    """All pairs that share a band and agree enough, and their components."""
    bands = choose_bands(values.shape[1], SETTINGS.near_dedup_threshold)
    needed = needed_agreement(values.shape[1], SETTINGS.near_dedup_threshold)
    labels = list(range(len(values)))
    for second in range(len(values)):
        for first in range(second):
            same = values[first] == values[second]
            banded = same[: bands.number * bands.rows].reshape(bands.number, bands.rows).all(axis=1).any()
            if banded and same.sum() >= needed:
                a, b = labels[first], labels[second]
                labels = [min(a, b) if label in (a, b) else label for label in labels]
    return {place: label for place, label in enumerate(labels) if place != label}


def mixed(chance: random.Random, count: int) -> npt.NDArray[np.uint8]:
    """Random signatures, of which groups of at most NEIGHBOURS + 1 resemble each other more or less."""
    rows: list[npt.NDArray[np.uint8]] = []
    generator = np.random.default_rng(chance.randrange(10**9))
    while len(rows) < count:
        base = generator.integers(0, 256, 128, dtype=np.uint8)
        for _ in range(chance.randrange(1, NEIGHBOURS + 1)):
            row = base.copy()
            places = generator.random(128) < chance.choice([0, 0.05, 0.2, 0.25, 0.3, 0.5])
            row[places] = generator.integers(0, 256, int(places.sum()), dtype=np.uint8)
            rows.append(row)
            base = row if chance.random() < 0.3 else base  # chains
    chance.shuffle(rows)
    return np.array(rows[:count])


@pytest.mark.parametrize("seed", range(4))
def test_equals_brute_force_for_any_cut_and_bucket(seed: int, tmp_path: Path) -> None:
    values = mixed(random.Random(seed), 151)
    expected = brute_force(values)
    assert expected
    for cut, bucket_bytes in ((10**6, 10**6), (1, 10**6), (37, 64), (10**6, 300), (13, 8)):
        assert found(values, tmp_path, cut, bucket_bytes=bucket_bytes) == expected


def test_many_small_steps_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BLOCK_BYTES": 128 * 5, "FEW": 2, "MANY": 4}.items():
        monkeypatch.setattr(f"pipeline.dedup.table.{name}", value)
    monkeypatch.setattr("pipeline.dedup.buckets.BUFFER_BYTES", 100)
    values = mixed(random.Random(8), 127)
    assert found(values, tmp_path, 5, bucket_bytes=500) == brute_force(values)


def test_only_wanted_documents_take_part(tmp_path: Path) -> None:
    values = mixed(random.Random(9), 97)
    wanted = np.random.default_rng(1).random(97) < 0.6
    places = np.flatnonzero(wanted)
    expected = {int(places[k]): int(places[v]) for k, v in brute_force(values[wanted]).items()}
    assert found(values, tmp_path, 20, wanted=wanted) == expected


def test_many_copies_and_a_crowd_in_one_band(tmp_path: Path) -> None:
    """Thousands that share bands without being similar are compared with some of each other only, copies all found."""
    generator = np.random.default_rng(0)
    values = generator.integers(0, 256, (3001, 128), dtype=np.uint8)
    values[:, :60] = values[0, :60]  # ten bands in common, less than half of the values
    values[2000:2500] = values[17]
    assert found(values, tmp_path) == dict.fromkeys(range(2000, 2500), 17)


def clusters(texts: list[str], tmp_path: Path) -> dict[int, int]:
    return found(signatures([text.encode() for text in texts], SETTINGS), tmp_path)


def test_chain_is_one_cluster_and_its_first_survives(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(400)]
    texts = ["something else entirely", *(" ".join(words[n * 12 : n * 12 + 240]) for n in range(8))]
    assert clusters(texts, tmp_path) == dict.fromkeys(range(2, 9), 1)
    assert clusters([texts[1], texts[8]], tmp_path) == {}  # the ends are not alike


def test_chinese(tmp_path: Path) -> None:
    chance = random.Random(3)
    characters = [chr(chance.randrange(0x4E00, 0x9FA5)) for _ in range(300)]
    poem, other = "".join(characters[:150]), "".join(characters[150:])
    edited = "，".join([poem[:40], poem[40:100], poem[100:148], "春曉"])
    assert clusters([poem, other, edited, f"{other}。"], tmp_path) == {2: 0, 3: 1}


def test_tiny_documents(tmp_path: Path) -> None:
    """Fewer words than an n-gram has: alike when all words are; no words: never alike."""
    texts = ["", "!", "...", "Yes.", "yes", "no", "yes no", "Yes, no!", "。", "好", "好！", "好的"]
    assert clusters(texts, tmp_path) == {4: 3, 7: 6, 10: 9}
    assert clusters([f"item {n}" for n in range(3000)], tmp_path) == {}


def test_no_documents(tmp_path: Path) -> None:
    assert found(np.zeros((0, 128), np.uint8), tmp_path) == {}
    assert found(np.zeros((3, 128), np.uint8), tmp_path) == {}
