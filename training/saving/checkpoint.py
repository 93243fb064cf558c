"""The checkpoints of a run: written whole or not at all, kept, found again. `model.checkpoint_file` reads them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from foundation import atomic
from foundation.errors import UserError
from foundation.failpoints import failpoint
from model.checkpoint_file import FORMAT, VERSION, DamagedCheckpoint, read_checkpoint

NEWEST = "ckpt.pth"
DIRECTORY = "checkpoints"
REQUIRED = (
    "step",
    "tokens",
    "sample",
    "model",
    "optimizer",
    "scaler",
    "rng",
    "state",
    "config",
    "model_config",
    "vocab_size",
    "dataset",
    "tokenizer",
    "tokenizer_files",
    "global_batch",
)


def step_path(run: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies in the run directory `run`."""
    return run / DIRECTORY / f"step_{step:06d}.pth"


def run_of(path: Path) -> Path:
    """The run directory that the checkpoint file `path` lies in."""
    return path.parent.parent if path.parent.name == DIRECTORY else path.parent


def saved_steps(run: Path) -> list[int]:
    """Steps with a checkpoint under `run`, ascending."""
    names = (path.stem.removeprefix("step_") for path in (run / DIRECTORY).glob("step_*.pth"))
    return sorted(int(name) for name in names if name.isdigit())


class _File:
    """A file for torch.save that remembers the system's error, which torch would turn into its own."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            failpoint("checkpoint.write", self._path)
            rest = memoryview(data).cast("B")
            while rest:  # Linux takes at most 2 GiB at once, a disk that fills up what still fits
                written = self._file.write(rest)
                if not written:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(self._path))
                rest = rest[written:]
            return len(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _write(content: dict[str, Any], temporary: Path, final: Path) -> None:
    with temporary.open("wb", buffering=0) as raw:
        file = _File(raw, final)
        try:
            torch.save(content, file)  # type: ignore[arg-type]
        except RuntimeError:
            if file.error is None:
                raise
        if file.error is not None:
            raise OSError(file.error.errno, file.error.strerror, str(final))


def save(run: Path, content: dict[str, Any], keep_last: int, best: int | None = None) -> Path:
    """Write the checkpoint of `content["step"]`, publish it as ckpt.pth, then remove all but the last `keep_last` and
    the one of step `best`.

    Order: the step's file whole and durable, then ckpt.pth swapped to it, then removals; a crash anywhere
    leaves a ckpt.pth that is the old or the new checkpoint. Checkpoints of later steps belong to a run that
    was rewound and go too. Raises OSError (disk full, say) with the previous state intact.
    """
    path = step_path(run, content["step"])
    (run / DIRECTORY).mkdir(parents=True, exist_ok=True)
    with atomic.atomic_path(path) as temporary:
        _write({"format": FORMAT, "version": VERSION, **content, "parts": sorted(content)}, temporary, path)
        failpoint("checkpoint.written", path)
    failpoint("checkpoint.renamed", path)
    _publish(path, run / NEWEST)
    failpoint("checkpoint.published", run / NEWEST)
    past = [step for step in saved_steps(run) if step <= content["step"]]
    for step in saved_steps(run):
        if step not in past[-keep_last:] and not (step == best and step in past):
            step_path(run, step).unlink()
    return path


def _publish(path: Path, newest: Path) -> None:
    """Make `newest` the same file as `path` (a hard link), or a copy where the file system has no links."""
    with atomic.atomic_path(newest) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            with path.open("rb") as source, temporary.open("wb") as target:
                while block := source.read(1 << 22):
                    target.write(block)


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU. Nothing in the file is executed.

    Raises `DamagedCheckpoint` naming what is wrong with the file, `UserError` when it is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; check the path, or leave --resume_from out to start afresh")
    content = read_checkpoint(path)
    missing = [key for key in (*REQUIRED, *content.get("parts", ())) if key not in content]
    if missing:
        raise DamagedCheckpoint(f"{path}: incomplete, lacks {', '.join(missing)}")
    return content


def candidates(first: Path) -> Iterator[Path]:
    """`first`, then the older checkpoints of its run, newest first, each file once."""
    run = run_of(first)
    seen = []
    if first.is_file():
        seen.append(first)
        yield first
    limit = int(first.stem.removeprefix("step_")) if first.stem.removeprefix("step_").isdigit() else None
    for step in reversed(saved_steps(run)):
        path = step_path(run, step)
        if (limit is None or step < limit) and not any(path.samefile(other) for other in seen):
            seen.append(path)
            yield path
