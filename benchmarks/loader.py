"""How fast the loader is alone: shuffled batches with targets and document borders, or an encoder's framed and masked
rows, one core, from the page cache.

    python benchmarks/loader.py [--tokens 50000000] [--sequence_length 1024] [--packing best_fit]
    python benchmarks/loader.py --packing framed --sequence_length 256 [--whole_words]

Makes a synthetic dataset in a temporary directory (documents of 20 to 2,000 tokens), reads it once so that it
lies in the page cache, then measures full batches, several rounds. Prints tokens/s: median, lowest, highest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shards.cutting import Texts
from shards.dataset import Dataset
from shards.documents import RECORD
from shards.framed import FramedSamples
from shards.framing import Frame
from shards.manifest import Manifest, SplitEntry
from shards.packing import PackedSamples
from shards.packing_plan import open_plan
from shards.planned import PlannedSamples
from shards.samples import Samples
from shards.writer import SplitWriter
from tokenization.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.tasks.masking import Masking

VOCABULARY = 32_000
BATCH = 32
ROUNDS = 9
ROUND_SECONDS = 1.0
ROLES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
Make = Callable[[np.ndarray], object]


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


def word_pieces() -> Tokenizer:
    """A WordPiece tokenizer of the size, every third token inside a word."""
    names = [*ROLES, *(f"{'##' * (n % 3 == 0)}t{n}" for n in range(VOCABULARY - len(ROLES)))]
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 9,
        "vocab": {name: n for n, name in enumerate(names)},
    }
    added = [{"id": n, "content": name, "special": True} for n, name in enumerate(ROLES)]
    rest = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    definition = {
        "version": "1.0",
        "added_tokens": [{**token, **rest} for token in added],
        "model": model,
    }
    return Tokenizer.from_files({"tokenizer.json": json.dumps(definition).encode()})


def pack(dataset: Dataset, packing: str, whole_words: bool, length: int, directory: Path) -> tuple[Samples, Make]:
    """The samples to measure, and what makes a batch; how long a plan took to make and to open is printed."""
    samples: Samples
    if packing == "concat":
        samples = PackedSamples(dataset, length, seed=1)
        return samples, samples.batch
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        cutting = Texts() if packing == "framed" else None
        plan = open_plan(dataset, length, [directory], lambda share: None, cutting)
        seconds.append(time.perf_counter() - began)
    print(
        f"plan made in {seconds[0]:.2f} s, opened in {1000 * seconds[1]:.1f} ms: {plan.summary.rows:,} rows, "
        f"{plan.summary.pieces:,} pieces, {plan.summary.padding:.3%} padding"
    )
    if packing == "best_fit":
        samples = PlannedSamples(dataset, plan, seed=1)
        return samples, samples.batch
    tokenizer = word_pieces()
    samples = FramedSamples(dataset, plan, 1, Frame.of(tokenizer.roles, "this benchmark", "its tokenizer"))
    masking = Masking(tokenizer, TrainingConfig(task="mlm", whole_word_mask=whole_words), seed=1)
    return samples, lambda numbers: masking.apply(samples.batch(numbers).inputs, numbers)


def one_round(make: Make, length: int, first: int, seconds: float) -> tuple[float, int]:
    """Tokens/s over at least `seconds` of whole batches from sample `first` on, and the next sample."""
    began, number = time.perf_counter(), first
    while time.perf_counter() - began < seconds:
        make(np.arange(number, number + BATCH, dtype=np.int64))
        number += BATCH
    return (number - first) * length / (time.perf_counter() - began), number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=50_000_000)
    parser.add_argument("--shard_tokens", type=int, default=10_000_000)
    parser.add_argument("--sequence_length", type=int, default=1024)
    parser.add_argument("--packing", choices=("concat", "best_fit", "framed"), default="concat")
    parser.add_argument("--whole_words", action="store_true", help="framed: mask whole words")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as directory:
        dataset = make_dataset(Path(directory) / "synthetic", arguments.tokens, arguments.shard_tokens)
        warm = dataset.max_token_id()  # reads every token: now they are in the page cache
        assert warm < VOCABULARY
        plans = Path(directory) / "plans"
        length = arguments.sequence_length
        samples, make = pack(dataset, arguments.packing, arguments.whole_words, length, plans)
        rates, number = [], 0
        for _ in range(ROUNDS):
            rate, number = one_round(make, length, number, ROUND_SECONDS)
            rates.append(rate / 1e6)
        print(
            f"{dataset.tokens:,} tokens in {len(dataset.shards)} shards, {dataset.documents:,} documents, "
            f"T={length}, batches of {BATCH}, one core, shuffled, "
            f"{'framed, masked' if arguments.packing == 'framed' else 'targets'} and borders, "
            f"{samples.samples_per_epoch:,} samples an epoch:"
        )
        print(
            f"{statistics.median(rates):.1f} million tokens/s (median of {ROUNDS} rounds; "
            f"{min(rates):.1f} to {max(rates):.1f})"
        )


if __name__ == "__main__":
    main()
