"""Named random streams: every use of chance has its own generator, derived from the seed and a name.

A stream depends on nothing but (seed, names), never on how often another stream was used.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` under `seed`."""
    key = "\0".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator (Philox, Salmon et al. 2011) for the stream `names` under `seed`."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, *names)))
