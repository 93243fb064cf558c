"""Read a training checkpoint (`.pth`): checked before it is believed, and nothing in it executed.

The file is a zip archive that `torch.load(weights_only=True)` reads. torch ignores the archive's CRC-32 sums; here
they are checked, so that a flipped bit is noticed.
"""

from __future__ import annotations

import errno
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from foundation.atomic import naming
from foundation.device import is_out_of_memory
from foundation.errors import UserError

FORMAT = "mateconv-checkpoint"
VERSION = 1


class DamagedCheckpoint(UserError):
    """A checkpoint file that is truncated, changed or no checkpoint of ours."""


def read_checkpoint(path: Path, mapped: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU; `mapped` ones are read only when they are used.

    Raises `DamagedCheckpoint` naming what is wrong with the file, `UserError` for another version and where memory does
    not suffice, OSError for a file that the system cannot read: neither says that it is damaged.
    """
    try:
        with naming(path), zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise DamagedCheckpoint(f"{path}: damaged (the checksum of {broken} does not match)")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        raise DamagedCheckpoint(f"{path}: holds more than plain data and is refused; it may execute code") from None
    except DamagedCheckpoint:
        raise
    except Exception as error:  # a damaged archive breaks its readers in many ways: zlib.error, KeyError, struct.error…
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a place before the start
            raise
        if is_out_of_memory(error):
            raise UserError(f"{path}: the machine's memory does not suffice to read it; free some of it") from None
        raise DamagedCheckpoint(f"{path}: truncated or damaged ({type(error).__name__}: {error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedCheckpoint(f"{path}: not a checkpoint of this program")
    if content.get("version") != VERSION:
        raise UserError(f"{path}: checkpoint version {content.get('version')}, this program reads version {VERSION}")
    return content
