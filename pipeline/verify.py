"""`python -m pipeline.verify`: check every byte of a dataset, name what is damaged, rebuild it with --repair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from tqdm import tqdm

from foundation.cli import EXIT_FAILURE, run
from foundation.config import load_config
from foundation.errors import UserError
from foundation.interrupts import tidy_stop
from foundation.page.wording import printable_line
from foundation.quantities import Count
from foundation.section import Section
from pipeline.config import PipelineConfig
from pipeline.given import local_dataset
from pipeline.inspection.finding import find_sources
from pipeline.inspection.recorded import config_of
from pipeline.settings.inputs import InputSpec
from pipeline.verification import files, shards
from pipeline.verification.problems import Problems
from shards.dataset import Dataset
from shards.manifest import FILE_NAME, TOKENIZER_DIRECTORY, Manifest


class VerifyFlags(Section):
    """Options of the command."""

    positional: ClassVar[Sequence[str]] = ("dataset",)

    dataset: Path = Field(description="dataset directory to check")
    input: list[str] | None = Field(
        None, description="where the inputs are: files, directories or globs; null looks where the configuration says"
    )
    samples: Count = Field(1000, ge=0, description="documents to tokenize again from their sources; 0 for none")
    repair: bool = Field(
        False, description="rebuild what is damaged from the work area or the inputs; the rest stays as it is"
    )


@dataclass
class Report:
    """What verifying came to."""

    problems: Problems = field(default_factory=Problems)
    manifest: Manifest | None = None
    bytes: int = 0
    samples: int = 0
    notes: list[str] = field(default_factory=list)


def verify(
    dataset: Path,
    inputs: Sequence[str | InputSpec] | None,
    samples: int = 1000,
    configured: PipelineConfig | None = None,
) -> Report:
    """Check `dataset`; compare `samples` of its documents with their sources where `inputs` (None: nowhere) hold them.
    `configured` is the user's own configuration (see `recorded.config_of`).

    Raises `UserError` when there is nothing to check.
    """
    report = Report()
    if not (local_dataset(dataset) / FILE_NAME).exists():
        raise UserError(f"{dataset}: no dataset there ({FILE_NAME} is missing)")
    files.check_listed(dataset, report.problems)
    try:
        report.manifest = Manifest.load(dataset)
    except UserError as error:
        report.problems.add(FILE_NAME, str(error))
        return report
    manifest, problems = report.manifest, report.problems
    files.check_manifest(dataset, manifest, problems)
    files.check_statistics(dataset, manifest, problems)
    files.check_stray_shards(dataset, manifest, problems)
    tokenizer = files.check_tokenizer(dataset, manifest, problems)
    report.bytes = shards.shard_bytes(manifest)
    with tqdm(total=report.bytes, unit="B", unit_scale=True, desc="checksums") as bar:
        shards.check_shards(dataset, manifest, problems, bar.update)
    if samples and inputs and tokenizer is not None and FILE_NAME not in problems:
        try:
            _check_sources(dataset, manifest, inputs, samples, configured or PipelineConfig(), report)
        except UserError as error:
            report.notes.append(f"documents were not compared with their sources: {error}")
    return report


def _check_sources(
    dataset: Path,
    manifest: Manifest,
    inputs: Sequence[str | InputSpec],
    samples: int,
    configured: PipelineConfig,
    report: Report,
) -> None:
    from pipeline.verification.sources import SourceCheck

    tokenizer = dataset / TOKENIZER_DIRECTORY
    config = config_of(manifest.settings, configured, tokenizer=tokenizer, output=dataset, workers=1, decontaminate=[])
    found = find_sources(manifest, inputs, config)
    report.notes += found.missing.values()
    datasets = {}
    for split in manifest.splits:
        try:
            datasets[split] = Dataset.open(dataset, split)
        except UserError:  # a file is missing or has another size, which was named
            continue
    total = sum(opened.documents for opened in datasets.values())
    with tqdm(total=min(samples, total), unit="doc", desc="sources") as bar:
        check = SourceCheck(dataset, manifest, config, report.problems, bar.update)
        check.run(datasets, found, samples)
    report.samples = check.checked
    report.notes += [f"{path}: changed since the dataset was made from it, so not compared" for path in check.changed]


def main(argv: list[str]) -> int:
    """The command."""
    loaded = load_config(
        "python -m pipeline.verify",
        "Check a dataset: checksums, ids, borders, accounts, and a sample of documents against their sources.",
        {},
        VerifyFlags,
        argv,
        {"pipeline": PipelineConfig},
    )
    flags = loaded.get(VerifyFlags)
    configured = loaded.get(PipelineConfig)
    inputs: Sequence[str | InputSpec] = flags.input if flags.input is not None else configured.input
    report = verify(flags.dataset, inputs, flags.samples, configured)
    tell(flags.dataset, report)
    if not report.problems:
        return 0
    if not flags.repair:
        print(f"repair it with: python -m pipeline.verify {flags.dataset} --repair")
        return EXIT_FAILURE
    from pipeline.verification.repair import repair

    with tidy_stop("each file is the damaged one or the whole one; the same command goes on"):
        for path in repair(flags.dataset, inputs, report.manifest, report.problems, configured):
            print(printable_line(f"rebuilt: {flags.dataset}/{path}"))
    left = verify(flags.dataset, inputs, flags.samples, configured)
    tell(flags.dataset, left)
    return EXIT_FAILURE if left.problems else 0


def tell(dataset: Path, report: Report) -> None:
    """Print what was found."""
    for note in report.notes:
        print(printable_line(f"note: {note}"))
    for line in report.problems.lines():
        print(printable_line(f"damaged: {dataset}/{line}"))
    state = f"{len(report.problems.found)} damaged files" if report.problems else "whole"
    print(f"{dataset}: {state} ({report.bytes / 1e6:.1f} MB of shards, {report.samples} documents tokenized again)")


if __name__ == "__main__":
    run(main)
