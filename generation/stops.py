"""Stop strings: texts that end an answer and are never shown, however pieces are cut."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Feed a text piece by piece; get back what no stop string can still claim.

    The text ends where the stop string begins that is complete first; of several complete at the same character, the
    longest. So it does not matter how the text is cut into pieces. A piece costs its length and that of the stops.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        assert all(stops), "an empty stop string ends everything"
        self._stops = tuple(stops)
        self._held = ""  # may be the beginning of a stop string
        self.stopped = False

    def push(self, piece: str) -> str:
        """The text that is certain now; nothing more after a stop string."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        certain = len(text) - self._undecided(text)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _undecided(self, text: str) -> int:
        """Characters at the end of `text` that a stop string may begin with."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for count in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-count:]) for stop in self._stops):
                return count
        return 0
