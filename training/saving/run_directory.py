"""The run directory: who may write there, what a fresh run must not touch, what a resumed one cuts back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from foundation import atomic
from foundation.errors import UserError
from foundation.locks import DirectoryLock
from training.loggers.json_lines import lines_of
from training.saving import checkpoint

METRICS = "metrics.jsonl"
LOG = "train.log"
PLOT = "training_history.png"
REPORT = "report.html"
SAMPLES = "samples.jsonl"
HISTORY = "history.jsonl"
SPIKES = "spikes.jsonl"
VERDICTS = {"val": "val_metrics.json", "test": "test_metrics.json"}
"""What a finished classifier adds for each split, and the picture of its confusion matrix."""
CONFUSION = "confusion_matrix.png"
TENSORBOARD = "tensorboard"
MICROBATCH = "microbatch.json"
LOCK = ".lock"
BEST = "best"
FINAL = "final"
OWN_FILES = (
    *(checkpoint.NEWEST, METRICS, SAMPLES, SPIKES, HISTORY, PLOT, REPORT, *VERDICTS.values(), CONFUSION),
    *(MICROBATCH, LOG),
)
OWN_DIRECTORIES = (checkpoint.DIRECTORY, BEST, FINAL, TENSORBOARD)


class RunDirectory:
    """The layout of one run below `path`. Nothing else in that directory is ever touched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.newest = path / checkpoint.NEWEST
        self.metrics = path / METRICS
        self.log = path / LOG
        self.samples = path / SAMPLES
        self.history = path / HISTORY
        self.spikes = path / SPIKES
        self.tensorboard = path / TENSORBOARD
        self.plot = path / PLOT
        self.report = path / REPORT
        self.verdicts = {split: path / name for split, name in VERDICTS.items()}
        self.confusion = path / CONFUSION
        self.microbatch = path / MICROBATCH
        self.best = path / BEST
        self.final = path / FINAL

    def lock(self) -> DirectoryLock:
        """The lock that keeps a second training out. `UserError` when the directory cannot be made or
        written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return DirectoryLock(self.path / LOCK, "training")
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be used as run directory ({error.strerror}); choose another --out_dir"
            ) from None

    def tidy(self) -> None:
        """Finish or remove what an interrupted write left behind. The caller holds the lock."""
        for directory in (self.best, self.final):
            atomic.recover_directory(directory)
        for directory in (self.path, self.path / checkpoint.DIRECTORY):
            atomic.remove_temporaries(directory)

    def holds_run(self) -> bool:
        """Whether a run's results lie here (a log alone is none)."""
        files = [self.newest, self.metrics, self.best, self.final]
        return any(file.exists() for file in files) or bool(checkpoint.saved_steps(self.path))

    def refuse_existing(self) -> None:
        """`UserError` when a fresh run would write over an existing one."""
        if self.holds_run():
            steps = checkpoint.saved_steps(self.path)
            what = f"a run, saved up to step {steps[-1]}" if steps else "a run"
            raise UserError(
                f"{self.path}: holds {what}. Continue it with --resume, replace it with --overwrite, "
                "or choose another --out_dir"
            )

    def owns(self, path: Path) -> bool:
        """Whether `path` is part of what `clear` removes."""
        own = [(self.path / name).resolve() for name in (*OWN_FILES, *OWN_DIRECTORIES)]
        return any(path.resolve().is_relative_to(each) for each in own)

    def clear(self, resumed: bool = False) -> None:
        """Remove the run that lies here, newest checkpoint first; a crash between leaves no usable half. A run that was
        `resumed`, and had saved nothing yet, knows the memory of its devices still."""
        for name in OWN_FILES:
            if resumed and name == MICROBATCH:
                continue
            (self.path / name).unlink(missing_ok=True)
        for name in OWN_DIRECTORIES:
            if (self.path / name).exists():
                shutil.rmtree(self.path / name)

    def cut_back(self, step: int, pending: bool) -> None:
        """Keep what the run wrote up to `step`; a half-written last line goes too.

        With `pending`, the row and the samples of that step are made again: its validation was interrupted.
        """
        for file, last in ((self.metrics, step - pending), (self.samples, step - pending), (self.spikes, step)):
            if not file.exists():
                continue
            lines = lines_of(file)
            kept = [line for line in lines if _step_of(line) <= last]
            if kept != lines:
                atomic.write_text(file, "".join(kept))


def _step_of(line: str) -> float:
    """The step of a metrics line; infinity for a line that is not whole."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")
