"""A Hugging Face dataset of token ids: Parquet files that `datasets.load_dataset(DIRECTORY)` reads as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as parquet

from pipeline.exports.base import Exported, document_runs, records_of, run_tokens
from shards.dataset import Shard
from shards.documents import NO_LABEL
from shards.manifest import TOKENIZER_DIRECTORY

ROW_GROUP_TOKENS = 1 << 22
NOT_COUNTED = -100
_NAMES = {"val": "validation"}
"""The hub calls the validation split so."""


def check(exported: Exported) -> None:
    """Every dataset can be written so: ids are int32."""


def write(exported: Exported, directory: Path, progress: Callable[[int], object]) -> None:
    """Write data/SPLIT-I-of-N.parquet (one a shard), the tokenizer, and a README.md that names the files' splits.

    Columns: `input_ids` (list of int32, terminator included), `source` (name of the input file), `label` (int32, null
    for none) where the dataset has class labels, and where it records trained spans `labels` (list of int32): the
    tokens a loss counts, and -100 for all others, as `transformers` has it. A piece that `max_length` cut has a
    row of its own.
    """
    (directory / "data").mkdir()
    schema = _schema(exported)
    for split, dataset in exported.splits.items():
        name, count = _NAMES.get(split, split), len(dataset.shards)
        for number, shard in enumerate(dataset.shards):
            path = directory / "data" / f"{name}-{number:05d}-of-{count:05d}.parquet"
            with parquet.ParquetWriter(path, schema, compression="zstd") as out:
                for first, last in document_runs(shard, ROW_GROUP_TOKENS):
                    out.write_table(_table(exported, schema, shard, first, last))
                    progress(int(shard.lengths[first:last].sum(dtype=np.int64)))
    for file, data in exported.tokenizer.files().items():
        (directory / TOKENIZER_DIRECTORY).mkdir(exist_ok=True)
        (directory / TOKENIZER_DIRECTORY / file).write_bytes(data)
    (directory / "README.md").write_text(_card(exported), encoding="utf-8")


def _schema(exported: Exported) -> pa.Schema:
    fields = [("input_ids", pa.list_(pa.int32())), ("source", pa.string())]
    if exported.labelled:
        fields.append(("label", pa.int32()))
    if any(shard.spans is not None for dataset in exported.splits.values() for shard in dataset.shards):
        fields.append(("labels", pa.list_(pa.int32())))
    return pa.schema(fields)


def _table(exported: Exported, schema: pa.Schema, shard: Shard, first: int, last: int) -> pa.Table:
    tokens = run_tokens(shard, first, last).astype(np.int32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(shard.lengths[first:last], dtype=np.int32)]).astype(np.int32))
    records = records_of(shard)[first:last]
    sources = pa.DictionaryArray.from_arrays(
        pa.array(records["source"].astype(np.int32)), pa.array(exported.source_names, pa.string())
    )
    columns = [pa.ListArray.from_arrays(offsets, pa.array(tokens)), sources.cast(pa.string())]
    if "label" in schema.names:
        labels = records["label"].astype(np.int32)
        columns.append(pa.array(labels, mask=labels == NO_LABEL))
    if "labels" in schema.names:
        targets = np.where(_counted(shard, first, last), tokens, NOT_COUNTED)
        columns.append(pa.ListArray.from_arrays(offsets, pa.array(targets.astype(np.int32))))
    return pa.table(columns, schema=schema)


def _counted(shard: Shard, first: int, last: int) -> npt.NDArray[np.bool_]:
    """Which tokens of the documents [first, last) a loss counts: those in spans; all of a document without rows."""
    lengths = shard.lengths[first:last].astype(np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    steps = np.zeros(int(lengths.sum()) + 1, np.int64)
    plain = np.ones(last - first, np.bool_)
    if shard.spans is not None:
        low, high = np.searchsorted(shard.spans["document"], [first, last])
        rows = shard.spans[low:high]
        document = rows["document"].astype(np.int64) - first
        np.add.at(steps, starts[document] + rows["start"], 1)
        np.add.at(steps, starts[document] + rows["end"], -1)
        plain[document] = False
    np.add.at(steps, starts[plain], 1)
    np.add.at(steps, ends[plain], -1)
    return np.cumsum(steps[:-1]) > 0


def _card(exported: Exported) -> str:
    """A dataset card whose header tells `datasets` which files belong to which split."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in exported.splits:
        name = _NAMES.get(split, split)
        lines += [f"  - split: {name}", f"    path: data/{name}-*.parquet"]
    lines += ["---", "", "Token ids of documents, made with MateConv. The tokenizer is in `tokenizer/`;"]
    lines += [f"each document ends with {exported.manifest.terminator or 'no terminator'}."]
    return "\n".join(lines) + "\n"
