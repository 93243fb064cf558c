"""The file that a user names for results: where they go, and what they must not take the place of."""

from __future__ import annotations

import os
from pathlib import Path

from foundation.errors import UserError


def output_file(path: Path, read: Path | None = None, flag: str = "--output") -> Path:
    """The name that a file of results takes in the end: `path`, or where a link of that name leads.

    `UserError` where that is `read`, the file that they are made from, or what a rename must not replace: a
    directory, a device, a pipe.
    """
    if path.exists():
        if read is not None and read.exists() and path.samefile(read):
            raise UserError(f"{flag} {path}: is the file that is read; give another name")
        if not path.is_file():
            raise UserError(f"{flag} {path}: is a directory, a device or a pipe; give the name of a file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path
