"""Token ids lie inside the vocabulary: every token read once for a dataset, never again while its files stay."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from foundation import atomic, fingerprint
from foundation.errors import UserError
from shards.dataset import Dataset

BLOCK = 2**24  # tokens looked at together


def check_ids(dataset: Dataset, vocab_size: int) -> None:
    """`UserError` when a token id of `dataset` is outside 0 … `vocab_size` - 1."""
    lowest, highest = id_range(dataset)
    if lowest < 0 or highest >= vocab_size:
        wrong = highest if highest >= vocab_size else lowest
        raise UserError(
            f"{dataset.path}: token id {wrong} in split {dataset.split!r} is outside the tokenizer's vocabulary of "
            f"{vocab_size}; give the tokenizer that made these tokens with --tokenizer_path, or check the files with "
            f"`python -m pipeline.verify {dataset.path}`"
        )


def id_range(dataset: Dataset) -> tuple[int, int]:
    """The smallest and the largest token id; (0, -1) without tokens.

    Reads every token, with a progress bar where that takes a while. The answer is kept in the user's cache under the
    dataset's identity and the sizes and times of its files.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mateconv" / "ids"
    record = cache / f"{_key(dataset)}.json"
    try:
        lowest, highest = json.loads(record.read_bytes())
        return int(lowest), int(highest)
    except (OSError, ValueError, TypeError):
        pass
    found = _scan(dataset)
    with contextlib.suppress(OSError):  # no place to remember it: the next run reads again
        atomic.write_json(record, list(found))
    return found


def _key(dataset: Dataset) -> str:
    files = []
    for shard in dataset.shards:
        status = shard.path.stat()
        files.append([shard.path.name, status.st_size, status.st_mtime_ns])
    return fingerprint.of_json([dataset.identity, dataset.split, str(Path(dataset.path).resolve()), files])


def _scan(dataset: Dataset) -> tuple[int, int]:
    lowest, highest = 0, -1
    with tqdm(total=dataset.tokens, desc="checking token ids", unit="token", unit_scale=True, delay=2) as bar:
        for shard in dataset.shards:
            for start in range(0, len(shard.tokens), BLOCK):
                block = np.asarray(shard.tokens[start : start + BLOCK])
                lowest, highest = min(lowest, int(block.min())), max(highest, int(block.max()))
                bar.update(len(block))
    return lowest, highest
