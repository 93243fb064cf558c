"""Datasets to damage, and ways to do it: for the tests of verifying and repairing."""

from __future__ import annotations

import bz2
import csv
import hashlib
import json
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from pipeline.config import PipelineConfig
from pipeline.settings.inputs import InputSpec
from pipeline.verification.checksums import write_checksums
from shards.manifest import FileEntry, Manifest

from ..conftest import documents


def configuration(corpus: Path, tokenizer: Path | None, output: Path) -> PipelineConfig:
    return PipelineConfig(
        input=[str(corpus)], output=output, tokenizer=tokenizer, workers=1, vocab_size=400,
        block_bytes=9000, shard_tokens=7000, val_fraction=0.1, test_fraction=0.05, max_bad_fraction=0.2,
    )  # fmt: skip


def flip(path: Path, seed: int) -> None:
    data = bytearray(path.read_bytes())
    place = random.Random(f"{seed}{path.name}").randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def every_file(dataset: Path) -> list[str]:
    return sorted(path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file())


def work(dataset: Path) -> Path:
    return next(path for path in (dataset.parent / ".work").iterdir() if path.is_dir())


def reseal(dataset: Path, name: str) -> None:
    """Let the manifest and the list vouch for a changed shard file: what a wrong program would have written."""
    manifest = json.loads((dataset / "manifest.json").read_bytes())
    split, _, rest = name.partition("/")
    shard, _, suffix = rest.partition(".")
    for entry in manifest["splits"][split]["shards"]:
        if entry["name"] == shard:
            data = (dataset / name).read_bytes()
            entry["files"]["." + suffix] = FileEntry(
                bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
            ).model_dump()
    (dataset / "manifest.json").write_bytes(Manifest.model_validate(manifest).encode())
    write_checksums(dataset)


def write_kinds(directory: Path) -> list[str | InputSpec]:
    """One input of every family of formats, with options of its own."""
    directory.mkdir()
    texts = {name: documents(60, seed) for seed, name in enumerate(("table", "rows", "array", "chat", "plain"))}
    rows = [{"body": text, "label": number % 3} for number, text in enumerate(texts["table"])]
    parquet.write_table(pa.Table.from_pylist(rows), directory / "table.parquet", row_group_size=17)
    with (directory / "rows.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, ["text"])
        writer.writeheader()
        writer.writerows({"text": text} for text in texts["rows"])
    (directory / "array.json").write_text(json.dumps([{"text": text} for text in texts["array"]]))
    turns = [[{"role": "user", "content": text[:40]}, {"role": "assistant", "content": text}] for text in texts["chat"]]
    (directory / "chat.jsonl").write_text("".join(json.dumps({"messages": pair}) + "\n" for pair in turns))
    (directory / "plain.txt.bz2").write_bytes(bz2.compress("\n\n".join(texts["plain"]).encode()))
    return [
        InputSpec(path=str(directory / "table.parquet"), text_field="body", weight=2.5),
        *(str(directory / name) for name in ("rows.csv", "array.json", "chat.jsonl")),
        InputSpec(path=str(directory / "plain.txt.bz2"), split="test"),
    ]


def copy_with_work(original: Path, place: Path) -> Path:
    """A copy of a dataset with its work area, that a test may damage."""
    shutil.copytree(original.parent, place / "dataset")
    return place / "dataset" / original.name
