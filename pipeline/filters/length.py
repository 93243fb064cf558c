"""Drop documents that are empty, too short or too long, in characters after cleaning."""

from __future__ import annotations


class LengthFilter:
    """Reasons: `empty`, `too_short`, `too_long`."""

    def __init__(self, min_chars: int, max_chars: int | None) -> None:
        self._min = min_chars
        self._max = max_chars

    def reject(self, text: str) -> str | None:
        """See `Filter.reject`."""
        if len(text) < self._min:
            return "too_short" if text else "empty"
        if self._max is not None and len(text) > self._max:
            return "too_long"
        return None
