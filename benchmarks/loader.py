"""How fast the loader is alone: shuffled batches with targets and document borders, one core, from the page
cache.

    python benchmarks/loader.py [--tokens 50000000] [--sequence_length 1024] [--packing best_fit]

Makes a synthetic dataset in a temporary directory (documents of 20 to 2,000 tokens), reads it once so that it
lies in the page cache, then measures full batches, several rounds. Prints tokens/s: median, lowest, highest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shards.dataset import Dataset
from shards.documents import RECORD
from shards.manifest import Manifest, SplitEntry
from shards.packing import PackedSamples
from shards.packing_plan import open_plan
from shards.planned import PlannedSamples
from shards.samples import Samples
from shards.writer import SplitWriter

VOCABULARY = 32_000
BATCH = 32
ROUNDS = 9
ROUND_SECONDS = 1.0


def make_dataset(path: Path, tokens: int, shard_tokens: int) -> Dataset:
    """Random documents, log-uniform in length, about `tokens` in all."""
    generator = np.random.default_rng(0)
    writer = SplitWriter(path / "train", np.dtype("uint16"), shard_tokens)
    written = 0
    while written < tokens:
        lengths = np.exp(generator.uniform(np.log(20), np.log(2000), 2000)).astype(np.int32)
        values = generator.integers(0, VOCABULARY, int(lengths.sum()), dtype=np.uint16)
        writer.append(values, lengths, np.zeros(len(lengths), RECORD), text_bytes=4 * lengths)
        written += len(values)
    empty = SplitEntry(documents=0, tokens=0, text_bytes=0, shards=[])
    Manifest(
        dtype="uint16",
        vocab_size=VOCABULARY,
        roles={},
        terminator=[0],
        tokenizer_fingerprint="0" * 64,
        pipeline_fingerprint="0" * 64,
        settings={},
        versions={},
        block_bytes=1,
        inputs=[],
        splits={"train": writer.finish(), "val": empty, "test": empty},
    ).save(path)
    return Dataset.open(path, "train")


def pack(dataset: Dataset, packing: str, length: int, directory: Path) -> Samples:
    """The samples to measure; how long a plan took to make and to open is printed."""
    if packing == "concat":
        return PackedSamples(dataset, length, seed=1)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        plan = open_plan(dataset, length, [directory], lambda share: None)
        seconds.append(time.perf_counter() - began)
    print(
        f"plan made in {seconds[0]:.2f} s, opened in {1000 * seconds[1]:.1f} ms: {plan.summary.rows:,} rows, "
        f"{plan.summary.pieces:,} pieces, {plan.summary.padding:.3%} padding"
    )
    return PlannedSamples(dataset, plan, seed=1)


def one_round(samples: Samples, first: int, seconds: float) -> tuple[float, int]:
    """Tokens/s over at least `seconds` of whole batches from sample `first` on, and the next sample."""
    began, number = time.perf_counter(), first
    while time.perf_counter() - began < seconds:
        batch = samples.batch(np.arange(number, number + BATCH, dtype=np.int64))
        assert batch.inputs.shape == batch.next_tokens.shape and len(batch.pieces) > BATCH
        number += BATCH
    return (number - first) * samples.sequence_length / (time.perf_counter() - began), number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=50_000_000)
    parser.add_argument("--shard_tokens", type=int, default=10_000_000)
    parser.add_argument("--sequence_length", type=int, default=1024)
    parser.add_argument("--packing", choices=("concat", "best_fit"), default="concat")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as directory:
        dataset = make_dataset(Path(directory) / "synthetic", arguments.tokens, arguments.shard_tokens)
        warm = dataset.max_token_id()  # reads every token: now they are in the page cache
        assert warm < VOCABULARY
        samples = pack(dataset, arguments.packing, arguments.sequence_length, Path(directory) / "plans")
        rates, number = [], 0
        for _ in range(ROUNDS):
            rate, number = one_round(samples, number, ROUND_SECONDS)
            rates.append(rate / 1e6)
        print(
            f"{dataset.tokens:,} tokens in {len(dataset.shards)} shards, {dataset.documents:,} documents, "
            f"T={arguments.sequence_length}, batches of {BATCH}, one core, shuffled, targets and borders:"
        )
        print(
            f"{statistics.median(rates):.1f} million tokens/s (median of {ROUNDS} rounds; "
            f"{min(rates):.1f} to {max(rates):.1f})"
        )


if __name__ == "__main__":
    main()
