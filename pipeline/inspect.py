"""`python -m pipeline.inspect`: show any document of a dataset, with its tokens, and trace it to its source line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from foundation.cli import EXIT_FAILURE, run
from foundation.config import load_config
from foundation.errors import UserError, did_you_mean
from foundation.page.wording import printable_line
from foundation.quantities import Count
from foundation.section import Section
from pipeline.config import PipelineConfig
from pipeline.given import local_dataset
from pipeline.inspection.showing import Shown, Tracer, overview, show
from pipeline.settings.inputs import InputSpec
from shards.dataset import Dataset
from shards.manifest import SPLITS, Manifest


class InspectFlags(Section):
    """Options of the command."""

    positional: ClassVar[Sequence[str]] = ("dataset",)

    dataset: Path = Field(description="dataset directory to look into")
    split: Literal["train", "val", "test"] | None = Field(
        None, description="only this split; null takes train for --document and all of them otherwise"
    )
    document: Count | None = Field(None, ge=0, description="show the document of this number, from 0, in its split")
    source: str | None = Field(None, description="show the document that --offset of this input became")
    offset: Count | None = Field(None, ge=0, description="byte (or row) at which the record begins in --source")
    search: str | None = Field(None, description="show the documents whose text holds this, at most --limit")
    random: Count | None = Field(None, ge=1, description="show so many documents drawn at random")
    limit: int = Field(5, ge=1, description="most documents that --search shows")
    tokens: bool = Field(False, description="list the tokens of each document: id and piece of text")
    input: list[str] | None = Field(
        None, description="where the inputs are: files, directories or globs; null looks where the configuration says"
    )

    @model_validator(mode="after")
    def _one_choice(self) -> InspectFlags:
        ways = [name for name in ("document", "source", "search", "random") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(f'--{way}' for way in ways)} exclude each other; give one")
        if (self.source is None) != (self.offset is None):
            raise ValueError("--source and --offset belong together; give both")
        return self


def choose(flags: InspectFlags, manifest: Manifest) -> Iterator[Shown]:
    """The documents that the flags ask for. Raises `UserError` when there is no such document."""
    splits = [flags.split] if flags.split else [name for name in SPLITS if manifest.splits[name].documents]
    if flags.document is not None:
        dataset = Dataset.open(flags.dataset, flags.split or SPLITS[0])
        if flags.document >= dataset.documents:
            raise UserError(
                f"{flags.dataset}: {dataset.split} has the documents 0 to {dataset.documents - 1}, not {flags.document}"
            )
        yield Shown(dataset, flags.document)
        return
    opened = [Dataset.open(flags.dataset, split) for split in splits]
    if flags.source is not None and flags.offset is not None:
        yield from _at_source(flags, manifest, opened)
    elif flags.search is not None:
        yield from _search(flags.search, opened, flags.limit)
    elif flags.random is not None:
        counts = [dataset.documents for dataset in opened]
        total = sum(counts)
        for place in sorted(np.random.default_rng().choice(total, min(flags.random, total), replace=False).tolist()):
            which = int(np.searchsorted(np.cumsum(counts), place, side="right"))
            yield Shown(opened[which], place - sum(counts[:which]))


def _at_source(flags: InspectFlags, manifest: Manifest, opened: Sequence[Dataset]) -> Iterator[Shown]:
    names = [entry.name for entry in manifest.inputs]
    if flags.source not in names:
        raise UserError(
            f"{flags.dataset}: made from no input {flags.source!r}{did_you_mean(str(flags.source), names)}"
            f" It has {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        )
    source, shown = names.index(flags.source), 0
    for dataset in opened:
        for before, shard in zip(dataset.document_offsets[:-1].tolist(), dataset.shards, strict=True):
            assert shard.records is not None
            places = np.flatnonzero((shard.records["source"] == source) & (shard.records["offset"] == flags.offset))
            for place in places.tolist():
                shown += 1
                yield Shown(dataset, before + place)
    if not shown:
        raise UserError(
            f"{flags.dataset}: no document of {flags.source} begins at {flags.offset}; it may have been rejected (see"
            " rejected/), quarantined (see quarantine/) or a duplicate"
        )


def _search(text: str, opened: Sequence[Dataset], limit: int) -> Iterator[Shown]:
    found = 0
    for dataset in opened:
        for number in range(dataset.documents):
            shown = Shown(dataset, number)
            if text in shown.text():
                found += 1
                yield shown
                if found == limit:
                    return


def main(argv: list[str]) -> int:
    """The command."""
    loaded = load_config(
        "python -m pipeline.inspect",
        "Show documents of a dataset and trace them to their sources; without a choice, what the dataset is.",
        {},
        InspectFlags,
        argv,
        {"pipeline": PipelineConfig},
    )
    flags = loaded.get(InspectFlags)
    manifest = Manifest.load(local_dataset(flags.dataset))
    if all(way is None for way in (flags.document, flags.source, flags.search, flags.random)):
        print("\n".join(map(printable_line, overview(flags.dataset, manifest))))
        return 0
    inputs: Sequence[str | InputSpec] = flags.input if flags.input is not None else loaded.get(PipelineConfig).input
    tracer, found = Tracer(flags.dataset, manifest, inputs), False
    for shown in choose(flags, manifest):
        print("\n".join(map(printable_line, show(shown, manifest, tracer, flags.tokens))), flush=True)
        found = True
    if not found:
        print(f"{flags.dataset}: no document holds {flags.search!r}")
    return 0 if found else EXIT_FAILURE


if __name__ == "__main__":
    run(main)
