"""Where a run's files are: the dataset, its work, and the local stand-ins of what lies at a URL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from foundation import fingerprint
from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.publishing.layout import FOLDERS
from pipeline.workspace.storage import Storage, url_of

WORK_DIRECTORY = ".work"


def work_root(output: Path) -> Path:
    """Where the work of the datasets beside a local `output` lies, unless `work_directory` says otherwise."""
    return output.parent / WORK_DIRECTORY


@dataclass(frozen=True)
class Place:
    """`label` tells datasets apart that keep their work in one directory."""

    name: str
    label: str
    output: Path | None
    """The dataset directory; None when it is at `output_url`."""
    output_url: str | None
    work_root: Path
    """Local directory of the work areas: the work itself, or a cache of what is at `work_url`."""
    work_url: str | None

    @property
    def shown(self) -> str:
        """The output, as messages name it."""
        return self.output_url or str(self.output)

    @property
    def lock(self) -> Path:
        """The lock file of the dataset: one pipeline at a time writes to it."""
        suffix = "" if self.label == self.name else f"-{fingerprint.short(fingerprint.of_bytes(self.label.encode()))}"
        return self.work_root / f"{self.name}{suffix}.lock"

    def check_writable(self) -> None:
        """Refuse what cannot be written, before any work is done."""
        inside = [] if self.output is None else [self.output, *(self.output / name for name in FOLDERS)]
        for path in (*inside, self.work_root):
            existing = next(p for p in (path, *path.absolute().parents) if p.exists())
            if not existing.is_dir():
                raise UserError(f"{existing}: is a file; {path} is to be a directory")
            if not os.access(existing, os.W_OK | os.X_OK):
                raise UserError(
                    f"{existing}: no permission to write there, or the file system is read-only; choose another"
                    " --output or --work_directory, or change who may write"
                )
        for url in filter(None, (self.output_url, self.work_url)):
            Storage(url).check_writable()


def place_of(config: PipelineConfig) -> Place:
    """Where the dataset of `config` and its work are."""
    url = url_of(config.output)
    work_url = url_of(config.work_directory) if config.work_directory else None
    output = config.output if url is None else None
    label = url or os.path.abspath(config.output)
    if config.work_directory and work_url is None:
        root = Path(config.work_directory)
    elif output is None or work_url is not None:
        root = cache_directory() / "work"
    else:
        root, label = work_root(output), output.name
    return Place(config.output.name, label, output, url, root, work_url)


def cache_directory() -> Path:
    """The user's directory for what can be made again (XDG base directory specification)."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mateconv"
    except RuntimeError:
        raise UserError(
            "this user has no home directory for work on a URL; set XDG_CACHE_HOME, or --work_directory"
        ) from None
