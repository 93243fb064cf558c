"""SHA256SUMS of a dataset: checksums of what the manifest holds none of, in the format of GNU `sha256sum --check`.

The manifest names its shards with their checksums and the tokenizer with its fingerprint. The manifest itself, the
tokenizer's other files, the statistics, the quarantined and rejected records are listed here; the report, which holds
times and so is no part of the dataset, has a list of its own in `report/`. The first line, a comment to `sha256sum`,
carries the checksum of the others, so that damage to the list is not taken for damage to a file.
"""

from __future__ import annotations

import re
from pathlib import Path

from foundation import atomic, fingerprint
from foundation.atomic import TEMPORARY_PREFIX
from pipeline.publishing.layout import REPORT, SUMS
from shards import plan_place
from shards.manifest import SPLITS

_HEADER = "# SHA-256 of the lines below: "
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class DamagedList(ValueError):
    """A SHA256SUMS is not what was written."""


def write_checksums(dataset: Path) -> None:
    """Write the lists of a dataset directory; call it last. Reads every listed file once."""
    if (dataset / REPORT).is_dir():
        _write(dataset / REPORT, covered(dataset / REPORT))
    _write(dataset, covered(dataset))


def covered(directory: Path) -> list[str]:
    """The files a list in `directory` is about, as paths relative to it: all but shards, the report, what training
    keeps with a dataset, and itself."""
    elsewhere = {*SPLITS, REPORT, SUMS, plan_place.NAME}
    return sorted(
        path.relative_to(directory).as_posix()
        for top in (directory.iterdir() if directory.is_dir() else ())
        if top.name not in elsewhere and not top.name.startswith(TEMPORARY_PREFIX)
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)
    )


def _write(directory: Path, names: list[str]) -> None:
    lines = "".join(f"{fingerprint.of_file(directory / name)}  {name}\n" for name in names)
    text = f"{_HEADER}{fingerprint.of_bytes(lines.encode())}\n{lines}"
    path = directory / SUMS
    if not path.exists() or path.read_bytes() != text.encode():
        atomic.write_text(path, text)


def read_checksums(directory: Path) -> dict[str, str] | None:
    """Path -> SHA-256 as `directory`'s list has them, None where there is no list. Raises `DamagedList`."""
    path = directory / SUMS
    if not path.is_file():
        return None
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise DamagedList("holds bytes that are no text") from None
    first, _, lines = text.partition("\n")
    if first != _HEADER + fingerprint.of_bytes(lines.encode()):
        raise DamagedList("its own checksum does not fit")
    matches = [_LINE.fullmatch(line) for line in lines.splitlines()]
    listed = {match[2]: match[1] for match in matches if match}
    # Lists of earlier versions name training's plans, which come and go.
    return {name: value for name, value in listed.items() if not name.startswith(f"{plan_place.NAME}/")}
