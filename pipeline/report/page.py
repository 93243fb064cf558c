"""Write `report/index.html`: one file that holds everything, opens without a network and runs no scripts."""

from __future__ import annotations

import json
from pathlib import Path

from foundation import atomic
from foundation.failpoints import failpoint
from foundation.logs import get_logger
from foundation.page import html
from foundation.page.document import document
from pipeline.publishing.layout import CLUSTERS, DUPLICATES, PAGE, QUARANTINE, REJECTED, REPORT, ROWS, STATS, SUMS
from pipeline.report import contents, examples, making, overview
from pipeline.report.making import Facts
from pipeline.report.style import STYLE
from shards.manifest import TOKENIZER_DIRECTORY, Manifest
from tokenization.tokenizer import Tokenizer

log = get_logger("pipeline.report")


def write_report(output: Path, name: str, facts: Facts) -> Path | None:
    """Write the page of the dataset `name` in `output`. A page that cannot be made is a warning: the dataset is whole.
    Its path, or None."""
    path = output / REPORT / PAGE
    try:
        failpoint("publish.before_report", output)
        atomic.write_text(path, render(output, name, facts))
    except Exception as error:  # whatever is wrong with the page, it must not end the run
        log.warning("%s: could not be written (%s: %s); the dataset is whole", path, type(error).__name__, error)
        return None
    return path


def remove_report(output: Path) -> None:
    """Remove the page that another version of the dataset left."""
    directory = output / REPORT
    for name in (PAGE, SUMS):
        (directory / name).unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()


def _label_names(manifest: Manifest) -> list[str]:
    """Names of the classes in the order of their numbers, where the inputs agree on them."""
    lists = [entry.options.get("labels") or [] for entry in manifest.inputs]
    return lists[0] if lists and all(names == lists[0] for names in lists) else []


def render(output: Path, name: str, facts: Facts) -> str:
    """The page as HTML, from what lies in the dataset and the facts of the run."""
    stats = json.loads((output / STATS).read_bytes())
    manifest = Manifest.load(output)
    tokenizer = Tokenizer.load(output / TOKENIZER_DIRECTORY)
    units = examples.units_of(manifest)
    accounts, vocabulary = stats["accounts"], stats["vocabulary"]
    body = [
        overview.headline(name, stats, making.facts_line(facts)),
        overview.records(stats),
        overview.sources(stats),
        html.pair(contents.lengths(stats), contents.ranks(vocabulary)),
        contents.splits(stats),
        contents.frequent(vocabulary, overview.totals(stats)["tokens"]),
        html.pair(contents.usage(vocabulary), contents.scripts(stats["characters"])),
        html.pair(contents.cleaning(stats), contents.labels(stats, _label_names(manifest))),
        examples.kept(output, manifest, tokenizer),
        examples.rejected(output / REJECTED / ROWS, accounts["rejected"]["reasons"], units),
        examples.duplicates(output / DUPLICATES / CLUSTERS),
        examples.quarantined(output / QUARANTINE / ROWS, accounts["quarantined"]["reasons"], units),
        making.making(facts, manifest.settings, manifest.versions),
    ]
    return document(f"{name} · MateConv dataset", body, STYLE)
