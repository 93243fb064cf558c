"""What is published is what the sources say: read back by a reader that knows only the Megatron format."""

from __future__ import annotations

import gzip
import json
import re
import struct
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from pipeline.config import PipelineConfig
from pipeline.process import process

from .conftest import plain_cleaning

SPECIALS = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|mask|>", "<|cls|>", "<|sep|>"]


def read_megatron(prefix: Path) -> list[list[int]]:
    """All documents of one .bin/.idx pair, from the description of the format alone."""
    index = prefix.with_suffix(".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    letter, size = {1: ("B", 1), 2: ("b", 1), 3: ("h", 2), 4: ("i", 4), 5: ("q", 8), 8: ("H", 2)}[code]
    at = 9 + 8 + 1 + 8 + 8
    lengths = struct.unpack_from(f"<{sequences}i", index, at)
    pointers = struct.unpack_from(f"<{sequences}q", index, at + 4 * sequences)
    borders = struct.unpack_from(f"<{documents}q", index, at + 12 * sequences)
    assert len(index) == at + 12 * sequences + 8 * documents
    data = prefix.with_suffix(".bin").read_bytes()
    assert len(data) == sum(lengths) * size
    found = []
    for first, last in pairwise(borders):
        tokens: list[int] = []
        for sequence in range(first, last):
            tokens += struct.unpack_from(f"<{lengths[sequence]}{letter}", data, pointers[sequence])
        found.append(tokens)
    return found


@cache
def contents(path: Path) -> bytes:
    """The decompressed file."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def source_text(directory: Path, name: str, offset: int) -> str:
    """The raw text that a document record points at."""
    data = contents(directory / name)
    if name.endswith(".txt"):
        return re.split(rb"\n[ \t\r]*\n", data[offset : offset + 100_000])[0].decode()
    text = json.loads(data[offset : data.index(b"\n", offset)])["text"]
    assert isinstance(text, str)
    return text


def check_dataset(output: Path, raw: Path) -> int:
    """Every document of `output` decodes to its cleaned source text, which its record leads back to."""
    manifest = json.loads((output / "manifest.json").read_text())
    tokenizer = tokenizers.Tokenizer.from_file(str(output / "tokenizer" / "tokenizer.json"))
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    count = 0
    for split, entry in manifest["splits"].items():
        for shard in entry["shards"]:
            prefix = output / split / shard["name"]
            records = np.load(prefix.with_name(prefix.name + ".docs.npy"))
            documents = read_megatron(prefix.with_name(prefix.name + ".bin"))
            assert len(documents) == len(records) == shard["documents"]
            for tokens, record in zip(documents, records, strict=True):
                assert tokens[-len(manifest["terminator"]) :] == manifest["terminator"]
                body = tokens[: -len(manifest["terminator"])]
                assert not special & set(body), "a special id inside a document"
                name = manifest["inputs"][int(record["source"])]["name"]
                expected = plain_cleaning(source_text(raw, name, int(record["offset"])))
                assert tokenizer.decode(body, skip_special_tokens=False) == expected
                count += 1
    return count


def test_independent_reader(small: PipelineConfig, corpus: Path) -> None:
    process(small)
    statistics = json.loads((small.output / "stats.json").read_text())
    assert check_dataset(small.output, corpus) == statistics["accounts"]["kept"]["records"] > 200


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["imdb/test.jsonl.gz", "zh_poetry/poems.jsonl.gz"])
def test_independent_reader_on_real_text(realdata: Path, name: str, tmp_path: Path) -> None:
    config = PipelineConfig(
        input=[str(realdata / name)], output=tmp_path / "d" / "x", vocab_size=1500,
        tokenizer_sample_bytes=1_000_000, max_samples=1499, workers=1,
    )  # fmt: skip
    manifest = process(config).manifest
    assert manifest is not None
    kept = check_dataset(config.output, (realdata / name).parent)
    assert kept == sum(split.documents for split in manifest.splits.values()) > 1300


def test_special_literals_are_text(tmp_path: Path) -> None:
    raw = tmp_path / "specials.jsonl"
    texts = [f"before {special} after {special}{special}" for special in SPECIALS] + SPECIALS
    raw.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for engine in ("auto", "reference"):
        output = tmp_path / engine / "x"
        config = PipelineConfig(
            input=[str(raw)], output=output, vocab_size=300, val_fraction=0.0, tokenizer_engine=engine, workers=1
        )
        process(config)
        assert check_dataset(output, tmp_path) == len(texts)


def test_labels_and_offsets(small: PipelineConfig, corpus: Path) -> None:
    process(small)
    manifest = json.loads((small.output / "manifest.json").read_text())
    seen: set[int] = set()
    for shard in manifest["splits"]["train"]["shards"]:
        records = np.load(small.output / "train" / f"{shard['name']}.docs.npy")
        for record in records[records["source"] == 0]:
            data = (corpus / "a.jsonl").read_bytes()
            line = json.loads(data[int(record["offset"]) :].split(b"\n")[0])
            assert line["label"] == record["label"]
            seen.add(int(record["label"]))
        assert (records[records["source"] == 3]["label"] == -1).all()
    assert seen == {0, 1, 2}


def test_duplicates_never_straddle_splits(small: PipelineConfig) -> None:
    process(small.model_copy(update={"exact_dedup": False}))
    where: dict[bytes, set[str]] = {}
    for path in small.output.rglob("*.docs.npy"):
        for record in np.load(path):
            where.setdefault(bytes(record["content_hash"]), set()).add(path.parent.name)
    assert len(where) > 200 and all(len(splits) == 1 for splits in where.values())


def test_first_in_input_order_survives(tmp_path: Path) -> None:
    for name, texts in (("b.jsonl", ["same", "only b"]), ("a.jsonl", ["only a", "same ", "same\n"])):
        (tmp_path / name).write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    config = PipelineConfig(
        input=[str(tmp_path / "b.jsonl"), str(tmp_path / "a.jsonl")],
        output=tmp_path / "d" / "x", vocab_size=300, val_fraction=0.0, workers=2,
    )  # fmt: skip
    process(config)
    records = np.load(next((config.output / "train").glob("*.npy")))
    assert [(int(r["source"]), int(r["offset"])) for r in records] == [(0, 0), (0, 17), (1, 0)]
    accounts: dict[str, Any] = json.loads((config.output / "stats.json").read_text())["accounts"]
    assert {key: accounts["duplicate"][key] for key in ("records", "bytes")} == {"records": 2, "bytes": 10}
