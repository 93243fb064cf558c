"""`python -m pipeline.export`: a dataset in other people's formats: nanoGPT, Hugging Face, decoded JSONL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal

from pydantic import Field
from tqdm import tqdm

from foundation import atomic
from foundation.cli import run
from foundation.config import load_config
from foundation.errors import UserError
from foundation.interrupts import tidy_stop
from foundation.section import Section
from pipeline.exports.base import Exported
from pipeline.given import local_dataset


class ExportFlags(Section):
    """Options of the command."""

    positional: ClassVar[Sequence[str]] = ("dataset",)

    dataset: Path = Field(description="dataset directory to export")
    format: Literal["nanogpt", "huggingface", "jsonl"] = Field(
        description="nanogpt: SPLIT.bin of uint16 and meta.pkl; huggingface: Parquet of input_ids that"
        " datasets.load_dataset reads; jsonl: the decoded text"
    )
    destination: Path = Field(description="directory to make; it must not exist yet")


def export(dataset: Path, kind: str, destination: Path) -> Path:
    """Write `dataset` to the new directory `destination`, whole or not at all, and return it."""
    exporter: ModuleType = import_module(f"pipeline.exports.{kind}")
    exported = Exported.open(local_dataset(dataset))
    exporter.check(exported)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError(f"{destination}: is already there; choose another --destination or remove it first")
    place = Path(os.path.realpath(destination))  # a link stays, what it leads to is made
    temporary = atomic.temporary_directory(place.parent, place.name)
    try:
        with atomic.naming(destination), tqdm(total=exported.tokens, unit="tok", unit_scale=True, desc="export") as bar:
            exporter.write(exported, temporary, bar.update)
        atomic.replace_directory(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def main(argv: list[str]) -> int:
    """The command."""
    loaded = load_config(
        "python -m pipeline.export",
        "Write a token dataset in another program's format.",
        {},
        ExportFlags,
        argv,
    )
    flags = loaded.get(ExportFlags)
    with tidy_stop("nothing was written"):
        destination = export(flags.dataset, flags.format, flags.destination)
    print(f"exported {flags.dataset} as {flags.format}:")
    for path in sorted(p for p in destination.rglob("*") if p.is_file()):
        print(f"  {path.stat().st_size:>15,} bytes  {path}")
    return 0


if __name__ == "__main__":
    run(main)
