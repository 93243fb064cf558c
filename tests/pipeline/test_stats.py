"""stats.json against counting everything once more from what was published and from what was read."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.statistics.lengths import EDGES, histogram, quantiles
from pipeline.statistics.scripts import SCRIPTS
from pipeline.statistics.vocabulary import describe_vocabulary
from tokenization.tokenizer import Tokenizer

from .conftest import plain_cleaning
from .test_dataset_content import read_megatron


def published(output: Path) -> dict[str, list[list[int]]]:
    """The tokens of every document of each split, by a reader that knows only the format."""
    manifest = json.loads((output / "manifest.json").read_text())
    return {
        split: [tokens for shard in entry["shards"] for tokens in read_megatron(output / split / shard["name"])]
        for split, entry in manifest["splits"].items()
    }


def made(config: PipelineConfig) -> dict[str, Any]:
    process(config)
    value: dict[str, Any] = json.loads((config.output / "stats.json").read_text())
    return value


def test_token_counts_are_those_of_the_shards(small: PipelineConfig) -> None:
    stats = made(small)
    splits = published(small.output)
    assert all(len(documents) > 3 for documents in splits.values())
    counts = Counter(token for documents in splits.values() for document in documents for token in document)
    vocabulary = stats["vocabulary"]
    assert vocabulary["used"] == len(counts)
    assert {t["id"]: t["count"] for t in vocabulary["most_frequent"]}.items() <= counts.items()
    ordered = sorted(counts.values(), reverse=True)
    assert [t["count"] for t in vocabulary["most_frequent"]] == ordered[:100]
    assert all(ordered[rank - 1] == count for rank, count in vocabulary["occurrences_by_rank"])
    assert vocabulary["used_fewer_than_10_times"] == sum(count < 10 for count in ordered)
    for share, needed in vocabulary["tokens_that_cover"].items():
        wanted = float(share[:-1]) / 100 * sum(ordered)
        assert sum(ordered[: needed - 1]) < wanted <= sum(ordered[:needed])
    for split, documents in splits.items():
        flat = Counter(token for document in documents for token in document)
        total = sum(flat.values())
        entropy = -sum(n / total * math.log(n / total) for n in flat.values())
        assert stats["splits"][split]["unigram_entropy_nats"] == pytest.approx(entropy, abs=1e-4)


def test_lengths_by_split_and_source(small: PipelineConfig) -> None:
    stats = made(small)
    splits = published(small.output)
    for split, documents in splits.items():
        lengths = sorted(map(len, documents))
        found = stats["splits"][split]
        assert found["records"] == found["documents"] == len(lengths) and found["tokens"] == sum(lengths)
        assert found["document_tokens"]["p0"] == lengths[0] and found["document_tokens"]["p100"] == lengths[-1]
        assert found["document_tokens"]["p50"] == lengths[(len(lengths) - 1) // 2]
        edges = stats["histogram_edges"]
        bins = [sum(a <= n < b for n in lengths) for a, b in pairwise(edges)]
        assert bins[: len(found["document_tokens_histogram"])] == found["document_tokens_histogram"]
        assert sum(bins) == len(lengths)
    sources = stats["sources"].values()
    for key in ("records", "tokens"):
        assert sum(source["kept"][key] for source in sources) == stats["accounts"]["kept"][key]
        assert sum(source["duplicate"][key] for source in sources) == stats["accounts"]["duplicate"][key] > 0
    assert sum(sum(source["document_tokens_histogram"]) for source in sources) == sum(map(len, splits.values()))


def test_duplicates_left_in_are_counted(small: PipelineConfig) -> None:
    config = small.model_copy(update={"exact_dedup": False})
    stats = made(config)
    tokens = sum(len(document) for documents in published(config.output).values() for document in documents)
    assert stats["accounts"]["kept"]["tokens"] == tokens and stats["accounts"]["duplicate"]["tokens"] == 0
    assert stats["duplicate_clusters"] == {"clusters": 0, "largest": 0, "by_size": {"more": 0}}


def test_sampled_characters_and_labels(small: PipelineConfig, corpus: Path) -> None:
    """The sample is one document in 16, by the first byte of the hash of its cleaned text."""
    stats = made(small.model_copy(update={"exact_dedup": False, "normalize_nfc": True}))
    import hashlib

    texts = [
        plain_cleaning(json.loads(line)["text"])
        for name in ("a.jsonl", "b.jsonl")
        for line in (corpus / name).read_bytes().splitlines()
        if line.startswith(b'{"id"')
    ]
    drawn = [text for text in texts if hashlib.sha256(text.encode()).digest()[0] % 16 == 0]
    characters = stats["characters"]
    assert len(drawn) <= characters["sampled_documents"] <= len(drawn) + 20  # those of the two other files
    assert sum(map(len, drawn)) <= characters["sampled_characters"]
    assert sum(characters["script_shares"].values()) == pytest.approx(1, abs=1e-4)
    assert characters["script_shares"].keys() <= set(SCRIPTS) and characters["script_shares"]["han"] > 0
    assert sum(stats["labels"].values()) == sum(
        stats["sources"][name]["kept"]["records"] for name in ("a.jsonl", "b.jsonl")
    )
    assert sorted(stats["labels"]) == ["0", "1", "2"]


@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_histogram_and_quantiles(lengths: list[int]) -> None:
    values = np.array(lengths, np.uint32)
    found = histogram(values)
    assert sum(found) == len(lengths)
    for place, count in enumerate(found):
        low, high = int(EDGES[place]), int(EDGES[place + 1])
        assert count == sum(low <= max(1, length) < high for length in lengths)
    named = quantiles(values)
    assert all(value in lengths for value in named.values())
    assert not lengths or (named["p0"], named["p100"]) == (min(lengths), max(lengths))


def test_unknown_tokens_are_counted(tmp_path: Path) -> None:
    definition: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "▁b": 2, "never": 3}, "unk_token": "[UNK]"},
    }  # fmt: skip
    tokenizer = Tokenizer.from_files({"tokenizer.json": json.dumps(definition).encode()})
    found = describe_vocabulary(np.array([3, 9, 8, 0]), tokenizer)
    assert (found["unknown_tokens"], found["unknown_rate"]) == (3, 0.15)
    assert (found["size"], found["used"], found["used_share"]) == (4, 3, 0.75)
    assert [(token["id"], token["text"]) for token in found["most_frequent"]] == [(1, "a"), (2, " b"), (0, "[UNK]")]


@pytest.mark.parametrize("changes", [{}, {"max_length": 13}])
def test_counts_with_repetitions_and_pieces(small: PipelineConfig, corpus: Path, changes: dict[str, Any]) -> None:
    inputs = [
        {"path": str(corpus / "a.jsonl"), "weight": 2.6},
        {"path": str(corpus / "b.jsonl"), "weight": 0.4},
        {"path": str(corpus / "c.jsonl.gz"), "split": "val"},
        {"path": str(corpus / "d.txt")},
    ]
    stats = made(PipelineConfig.model_validate({**small.model_dump(), "input": inputs, **changes}))
    splits = published(small.output)
    counts = Counter(token for documents in splits.values() for document in documents for token in document)
    assert {t["id"]: t["count"] for t in stats["vocabulary"]["most_frequent"]}.items() <= counts.items()
    assert [t["count"] for t in stats["vocabulary"]["most_frequent"]] == sorted(counts.values(), reverse=True)[:100]
    for split, documents in splits.items():
        assert stats["splits"][split]["documents"] == len(documents)
        assert stats["splits"][split]["tokens"] == sum(map(len, documents))
    accounts = stats["accounts"]
    assert accounts["rejected"]["reasons"]["left_out_by_weight"]["records"] > 10
    assert accounts["kept"]["records"] == sum(split["records"] for split in stats["splits"].values())


def test_every_key_is_documented(small: PipelineConfig) -> None:
    """docs/statistics.md names every key of stats.json but reasons, sources, sizes and the like, which are data."""
    stats = made(small)
    data = {"reasons", "sources", "by_size", "labels", "script_shares", "damaged_inputs", "tokens_that_cover"}
    data |= {"documents_changed_by_cleaning", "document_tokens", "document_bytes"}

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value)) if value else set()
        if not isinstance(value, dict):
            return set()
        inner = [keys(v) for k, v in value.items() if k not in data]
        return set(value).union(*inner)

    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    source = next(iter(stats["sources"].values()))
    named = keys(stats) | keys(source)
    missing = {key for key in named if f"`{key}`" not in text} - {"id", "token", "count"}
    assert not missing
