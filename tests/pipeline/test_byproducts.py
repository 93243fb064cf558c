"""What stands beside the shards: written whole or not at all, in bounded memory, and true to the source."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import PipelineConfig
from pipeline.mapping.rejects import RejectedDocuments, merge
from pipeline.process import process
from pipeline.publishing import byproducts
from pipeline.sources.base import BadRecord
from pipeline.workspace.parts import Part, PartWriter, Summary

from .conftest import plain_cleaning


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_replace_the_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "quarantine" / "records.jsonl"
    byproducts._write_rows(path, iter([{"a": 1}]))

    def broken() -> Iterator[dict[str, Any]]:
        yield {"a": 2}
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        byproducts._write_rows(path, broken())
    assert rows(path) == [{"a": 1}] and [p.name for p in path.parent.iterdir()] == ["records.jsonl"]
    byproducts._write_rows(path, iter([]))
    assert not path.parent.exists()


def test_millions_of_unreadable_records_need_little_memory(tmp_path: Path) -> None:
    """20 MB of rows pass through a part and into the dataset; neither ever holds more than a few of them."""
    tracemalloc.start()
    writer = PartWriter(tmp_path, tmp_path / "part", np.dtype("<u2"))
    raw = b"x" * 270
    for number in range(40_000):
        writer.quarantine(BadRecord(number * 271, number, len(raw), "invalid_json", "a detail", raw))
    writer.commit(Summary())
    part = Part(tmp_path / "part")
    byproducts._write_rows(tmp_path / "records.jsonl", part.rows("quarantine.jsonl"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "records.jsonl").stat().st_size > 18_000_000
    assert peak < 3_000_000
    last = rows(tmp_path / "records.jsonl")[-1]
    assert last["offset"] == 39_999 * 271 and base64.b64decode(last["raw_base64"]) == raw


def test_the_sample_is_the_same_however_the_input_is_cut(tmp_path: Path) -> None:
    """Sampling each part and merging gives what sampling everything at once gives, in input order."""
    texts = [f"document {n % 50}" for n in range(333)]

    def sample(cuts: list[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for place, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(texts)], strict=True)):
            writer = PartWriter(tmp_path, tmp_path / f"{len(cuts)}-{place}", np.dtype("<u2"))
            rejected = RejectedDocuments(7, writer)
            for number in range(start, end):
                rejected.add(number, number, "ab"[number % 2], texts[number].encode())
            rejected.finish()
            writer.commit(Summary())
            found += Part(tmp_path / f"{len(cuts)}-{place}").rows("rejected.jsonl")
        return list(merge(found, 7))

    whole = sample([])
    assert [row["reason"] for row in whole].count("a") == [row["reason"] for row in whole].count("b") == 7
    assert sample([10, 100, 101, 250]) == whole == sorted(whole, key=lambda row: row["offset"])
    assert all("key" not in row and row["text"] == texts[row["offset"]] for row in whole)


def test_clusters_of_duplicates_show_their_documents(small: PipelineConfig, corpus: Path) -> None:
    process(small)
    stats = json.loads((small.output / "stats.json").read_text())
    clusters = rows(small.output / "duplicates" / "clusters.jsonl")
    assert len(clusters) == stats["duplicate_clusters"]["clusters"] > 20
    assert sum(cluster["size"] - 1 for cluster in clusters) == stats["accounts"]["duplicate"]["records"]
    order = {name: place for place, name in enumerate(sorted(stats["sources"]))}
    for cluster in clusters:
        assert cluster["kind"] == "exact" and len(cluster["members"]) == min(cluster["size"], 5)
        places = [(order[member["source"]], member["offset"]) for member in cluster["members"]]
        assert places == sorted(places), "the first in input order is kept"
        for member in cluster["members"]:
            if member["source"].endswith(".jsonl"):
                data = (corpus / member["source"]).read_bytes()
                line = data[member["offset"] :].split(b"\n")[0]
                assert member["text"] == plain_cleaning(json.loads(line)["text"])[:2000]
    process(small.model_copy(update={"exact_dedup": False}), overwrite=True)
    assert not (small.output / "duplicates").exists()
