"""How good and how fast near-deduplication is: against brute force, on documents with planted edits.

    python benchmarks/near_dedup.py --input ../shared/data/imdb/train.jsonl.gz [--planted 4000] [--limit 25000]

Copies of some documents are edited by words, Chinese ones by characters (replaced, removed, inserted, moved), and
put among the originals. The truth is the exact Jaccard similarity of the sets of word n-grams, cut here with a regular
expression, of every pair that has an n-gram in common. Prints, for ranges of similarity, how many pairs there are and
how many ended in one cluster, then the two figures that count, and the CPU time of the signatures and the search.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.dedup.minhash import ARRAY, signatures
from pipeline.dedup.near import near_duplicates
from pipeline.settings.dedup import DedupSettings

EDGES = [0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
BATCH = 800


class InMemory:
    """A part that was never written."""

    def __init__(self, values: npt.NDArray[np.uint8]) -> None:
        self._values = values

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """See `Part.array`."""
        return self._values if name == ARRAY else None


def edited(text: str, chance: random.Random) -> str:
    """`text` with random edits, few or many: of words, or of characters where there are no spaces."""
    spaced = " " in text
    words = text.split(" ") if spaced else list(text)

    def new() -> str:
        return f"word{chance.randrange(10**6)}" if spaced else chr(chance.randrange(0x4E00, 0x9FA5))

    for _ in range(max(1, int(len(words) * chance.choice([0.005, 0.01, 0.02, 0.04, 0.07, 0.12])))):
        place, kind = chance.randrange(len(words)), chance.randrange(4)
        if kind == 0:
            words[place] = new()
        elif kind == 1 and len(words) > 1:
            del words[place]
        elif kind == 2:
            words.insert(place, new())
        else:
            words.insert(chance.randrange(len(words)), words.pop(place))
    return (" " if spaced else "").join(words)


def ngrams(text: str, size: int) -> set[int]:
    """The set of word n-grams, as 62-bit hashes of Python."""
    words = re.findall(r"[㐀-鿿]|[^\W_㐀-鿿]+", text.lower())
    if len(words) < size:
        return {hash(tuple(words)) >> 2} if words else set()
    return {hash(tuple(words[i : i + size])) >> 2 for i in range(len(words) - size + 1)}


def true_pairs(texts: list[str], size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """All pairs (m, 2) that share an n-gram, and their Jaccard similarity (m,)."""
    sets = [ngrams(text, size) for text in texts]
    lengths = np.array([len(s) for s in sets])
    grams = np.concatenate([np.fromiter(s, np.int64, len(s)) for s in sets])
    owners = np.repeat(np.arange(len(sets)), lengths)
    order = np.lexsort((owners, grams))
    grams, owners = grams[order], owners[order]
    shared = []
    distance = 1
    while len(found := np.flatnonzero(grams[distance:] == grams[:-distance])):
        shared.append(owners[found] * len(texts) + owners[found + distance])
        distance += 1
    keys, counts = np.unique(np.concatenate(shared), return_counts=True)
    pairs = np.stack(np.divmod(keys, len(texts)), axis=1)
    return pairs, counts / (lengths[pairs].sum(axis=1) - counts)


def clusters(texts: list[str], settings: DedupSettings) -> npt.NDArray[np.int64]:
    """The first document of the cluster of each text, by the pipeline's code; prints what it cost."""
    data = [text.encode() for text in texts]
    signatures([*data[:10], "é".encode()], settings)  # tables are made once
    started = time.process_time()
    parts = [InMemory(signatures(data[i : i + BATCH], settings)) for i in range(0, len(data), BATCH)]
    signed = time.process_time()
    size = sum(map(len, data))
    with tempfile.TemporaryDirectory() as scratch:
        similar, firsts = near_duplicates(settings, parts, np.ones(len(data), np.bool_), Path(scratch) / "dedup")
    done = time.process_time()
    print(f"{len(data)} documents, {size / 1e6:.1f} MB; CPU time in ns a byte:", end=" ")
    print(f"signatures {1e9 * (signed - started) / size:.1f}, search {1e9 * (done - signed) / size:.2f}")
    result = np.arange(len(texts))
    result[similar] = firsts
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="JSON lines with a text field, plain or .gz")
    parser.add_argument("--planted", type=int, default=4000, help="edited copies")
    parser.add_argument("--limit", type=int, default=25000, help="documents read")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    settings = DedupSettings(near_dedup=True)
    with gzip.open(options.input, "rt") if options.input.suffix == ".gz" else options.input.open() as lines:
        originals = [json.loads(line)["text"] for _, line in zip(range(options.limit), lines, strict=False)]
    chance = random.Random(options.seed)
    chosen = [chance.randrange(len(originals)) for _ in range(options.planted)]
    texts = originals + [edited(originals[place], chance) for place in chosen]
    pairs, truth = true_pairs(texts, settings.near_dedup_ngram)
    cluster = clusters(texts, settings)
    together = cluster[pairs[:, 0]] == cluster[pairs[:, 1]]
    origin = np.append(np.arange(len(originals)), chosen)
    planted = (pairs[:, 1] >= len(originals)) & (origin[pairs[:, 1]] == pairs[:, 0])
    print(f"{'Jaccard':>14} {'pairs':>10} {'in one cluster':>15}   {'planted':>8} {'in one cluster':>15}")
    for low, high in itertools.pairwise(EDGES):
        inside = (truth > low) & (truth <= high)
        print(
            f"({low:5.2f}, {high:4.2f}] {inside.sum():10} {together[inside].sum():15}   "
            f"{(inside & planted).sum():8} {together[inside & planted].sum():15}"
        )
    alike, unlike = truth >= 0.85, truth <= 0.5
    sizes = np.bincount(cluster, minlength=len(texts))
    reported = int((sizes * (sizes - 1) // 2).sum())
    strangers = reported - int(together.sum())  # pairs in one cluster without a common n-gram
    wrong = int(together[unlike].sum()) + strangers
    print(f"pairs of similarity >= 0.85 found: {together[alike].mean():.4%} (at least 95% is asked for)")
    print(f"pairs of similarity <= 0.5 reported: {wrong} of {unlike.sum()} with an n-gram in common,", end=" ")
    unlike_planted = planted & unlike
    print(f"{together[unlike_planted].sum()} of {unlike_planted.sum()} planted (at most 0.1% is asked for)")


if __name__ == "__main__":
    main()
