"""Named random streams: reproducible for ever, independent of each other."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from foundation.streams import derive_seed, generator


def test_seeds_are_the_documented_function_of_seed_and_names():
    """SHA-256 of the seed and the typed names, NUL between them; its first 8 bytes, little-endian, halved."""
    digest = hashlib.sha256(b"1234\0str:order\0int:7").digest()
    assert derive_seed(1234, "order", 7) == int.from_bytes(digest[:8], "little") // 2


def test_golden_values():
    """A change of these changes every dataset's splits and every run's order of samples."""
    assert derive_seed(0) == 2033344993903900207
    assert derive_seed(1234, "order", 7) == 8609564678774979899
    assert generator(1234, "a").integers(0, 1000, 6).tolist() == [852, 344, 444, 227, 23, 907]


def test_names_keep_streams_apart():
    names: list[tuple[str | int, ...]] = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), (1,), ("1",), ("a", 1)]
    seeds = [derive_seed(seed, *name) for seed in (0, 1, 12) for name in names]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_does_not_depend_on_the_use_of_others():
    first = generator(5, "x").random(11)
    other = generator(5, "y")
    other.random(1000)
    np.random.seed(3)
    np.testing.assert_array_equal(generator(5, "x").random(11), first)


@pytest.mark.parametrize("pair", list(itertools.combinations([(5, "x"), (5, "y"), (6, "x"), (5, "x", 0)], 2)))
def test_streams_are_uncorrelated(pair: tuple[tuple[int, str], tuple[int, str]]):
    one, two = (generator(*names).standard_normal(4000) for names in pair)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.08  # five standard deviations


def test_streams_are_philox():
    assert type(generator(0).bit_generator) is np.random.Philox
