"""Token ids lie inside the vocabulary: every token read once for a dataset, never again while its files stay."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from foundation import atomic, fingerprint
from foundation.errors import UserError
from shards.dataset import Dataset
from shards.plan_place import cache_places, first_writable

BLOCK = 2**24  # tokens looked at together


def check_ids(dataset: Dataset, vocab_size: int, fallback: Path) -> None:
    """`UserError` when a token id of `dataset` is outside 0 … `vocab_size` - 1. `fallback`: see `id_range`."""
    lowest, highest = id_range(dataset, fallback)
    if lowest < 0 or highest >= vocab_size:
        wrong = highest if highest >= vocab_size else lowest
        raise UserError(
            f"{dataset.path}: token id {wrong} in split {dataset.split!r} is outside the tokenizer's vocabulary of "
            f"{vocab_size}; give the tokenizer that made these tokens with --tokenizer_path, or check the files with "
            f"`python -m pipeline.verify {dataset.path}`"
        )


def id_range(dataset: Dataset, fallback: Path) -> tuple[int, int]:
    """The smallest and the largest token id; (0, -1) without tokens.

    Reads every token, with a progress bar where that takes a while. The answer is kept with the dataset, or in the
    directory `fallback` where the dataset is read-only, as long as identity, sizes and times of its files are the same.
    """
    places = cache_places(dataset.path, fallback)
    name = f"ids-{_key(dataset)[:16]}.json"
    for place in places:
        with contextlib.suppress(OSError, ValueError, TypeError):
            lowest, highest = json.loads((place / name).read_bytes())
            return int(lowest), int(highest)
    found = _scan(dataset)
    with contextlib.suppress(OSError, UserError):  # no place to remember it: the next run reads again
        atomic.write_json(first_writable(places) / name, list(found))
    return found


def _key(dataset: Dataset) -> str:
    files = []
    for shard in dataset.shards:
        status = shard.path.stat()
        files.append([shard.path.name, status.st_size, status.st_mtime_ns])
    return fingerprint.of_json([dataset.identity, dataset.split, files])


def _scan(dataset: Dataset) -> tuple[int, int]:
    lowest, highest = 0, -1
    with tqdm(total=dataset.tokens, desc="checking token ids", unit="token", unit_scale=True, delay=2) as bar:
        for shard in dataset.shards:
            for start in range(0, len(shard.tokens), BLOCK):
                block = np.asarray(shard.tokens[start : start + BLOCK])
                lowest, highest = min(lowest, int(block.min())), max(highest, int(block.max()))
                bar.update(len(block))
    return lowest, highest
