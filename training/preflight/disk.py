"""Disk space for a run: what its checkpoints and models will take, and what is free where they go."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from foundation.page.wording import size
from training.saving import checkpoint
from training.saving.run_directory import RunDirectory


@dataclass(frozen=True)
class DiskNeed:
    """Bytes: one checkpoint, all that the run still adds, and what is free."""

    checkpoint: int
    added: int
    free: int


def disk_need(directory: RunDirectory, weights: int, copies: int, kept: int, files: int) -> DiskNeed:
    """What a run needs that keeps `kept` checkpoints of `copies` float32 numbers for each of `weights`.

    While a checkpoint is written, it lies beside the kept ones; so does a model beside the one it replaces. `files`
    are the bytes of the tokenizer. What the run has already written is taken off.
    """
    one = 4 * weights * copies + files
    model = 4 * weights + files
    total = (kept + 1) * one + 3 * model
    present = sum(
        checkpoint.step_path(directory.path, s).stat().st_size for s in checkpoint.saved_steps(directory.path)
    )
    for name in (directory.best, directory.final):
        present += sum(path.stat().st_size for path in name.rglob("*") if path.is_file())
    return DiskNeed(one, max(one + model, total - present), shutil.disk_usage(_existing(directory.path)).free)


def check_disk(need: DiskNeed, directory: RunDirectory, keep_last: int) -> None:
    """`UserError` when the checkpoints will not fit."""
    if need.added > need.free:
        raise UserError(
            f"{directory.path}: the run will write {size(need.added)} ({keep_last} checkpoints of "
            f"{size(need.checkpoint)}, one more while it is written, and the models), but {size(need.free)} "
            "are free there; free some space, lower --keep_last, or choose another --out_dir"
        )


def _existing(path: Path) -> Path:
    """`path`, or the nearest directory above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
