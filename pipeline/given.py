"""The dataset that a command is given on its command line."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import UserError
from pipeline.workspace.storage import url_of


def local_dataset(path: Path) -> Path:
    """`path`, which must be on this machine: commands that look into a dataset map its files. Raises `UserError`."""
    url = url_of(path)
    if url is not None:
        raise UserError(f"{url}: this command reads local files; copy the dataset here first and give its directory")
    return path
