"""What a filter is."""

from __future__ import annotations

from typing import Protocol


class Filter(Protocol):
    """Judges one cleaned document, given in UTF-8."""

    def reject(self, text: bytes) -> str | None:
        """The reason to drop `text` (a short identifier), or None to keep it."""
        ...
