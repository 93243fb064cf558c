"""Write report.html: one file that holds everything about a run, opens without a network and runs no scripts."""

from __future__ import annotations

from pathlib import Path

from foundation import atomic
from foundation.page import html
from foundation.page.document import document
from training.report import curves, making, measures, overview, story, texts
from training.report.files import RunFiles
from training.report.style import STYLE
from training.saving.run_directory import REPORT


def write_report(directory: Path) -> Path:
    """Write the page of the run in `directory` there, from its files alone; its path."""
    path = directory / REPORT
    atomic.write_text(path, render(RunFiles.read(directory)))
    return path


def render(run: RunFiles) -> str:
    """The page as HTML."""
    body = [
        overview.headline(run),
        curves.losses(run),
        measures.measures(run),
        curves.others(run),
        texts.samples(run),
        story.stretches(run),
        story.faults(run),
        html.pair(story.times(run), story.saved(run)),
        making.making(run),
    ]
    return document(f"{run.path.resolve().name} · MateConv run", body, STYLE)
