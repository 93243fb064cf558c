"""What is wrong with a dataset: one entry a damaged file, in the words a person needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Problems:
    """The damage found so far, by path relative to the dataset."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str | Path, what: str) -> None:
        """Name a damaged file; of many things that are wrong with one file the first few are kept."""
        reasons = self.found.setdefault(str(path), [])
        if len(reasons) < 3 and what not in reasons:
            reasons.append(what)

    def __bool__(self) -> bool:
        return bool(self.found)

    def __contains__(self, path: str) -> bool:
        return path in self.found

    def lines(self) -> Iterator[str]:
        """One line a file."""
        for path, reasons in sorted(self.found.items()):
            yield f"{path}: {'; '.join(reasons)}"
