"""Drop documents that are empty, too short or too long, in characters after cleaning."""

from __future__ import annotations


class LengthFilter:
    """Reasons: `empty`, `too_short`, `too_long`."""

    def __init__(self, min_chars: int, max_chars: int | None) -> None:
        self._min = min_chars
        self._max = max_chars

    def reject(self, text: bytes) -> str | None:
        """See `Filter.reject`."""
        size = len(text)
        if size >= 4 * self._min and (self._max is None or size <= self._max):
            return None  # a character takes one to four bytes: no need to count them
        length = size if text.isascii() else len(text.decode())
        if length < self._min:
            return "too_short" if text else "empty"
        return "too_long" if self._max is not None and length > self._max else None
