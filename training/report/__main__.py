"""`python -m training.report RUN`: draw the picture and the page of a run again, from its files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from foundation import cli, logs
from foundation.config import load_config
from foundation.errors import UserError
from foundation.section import Section
from training.loggers.history_plot import draw_run
from training.report.page import write_report
from training.saving.run_directory import METRICS


class Flags(Section):
    """What the command line says."""

    positional: ClassVar[tuple[str, ...]] = ("run",)
    run: Path = Field(Path("out"), description="run directory")


def main(argv: list[str]) -> int:
    """Draw; the exit code."""
    logs.setup()
    loaded = load_config("python -m training.report", "Draw the report of a training run again.", {}, Flags, argv)
    run = loaded.get(Flags).run
    if not (run / METRICS).is_file():
        raise UserError(f"{run}: no {METRICS} there, so no run; give the out_dir of one")
    draw_run(run)
    print(write_report(run))
    return 0


if __name__ == "__main__":
    cli.run(main)
