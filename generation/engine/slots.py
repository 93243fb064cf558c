"""Which slot of the cache holds which text: a new prompt takes the one that begins as it does."""

from __future__ import annotations

from collections.abc import Sequence

from model.kv_cache import KVCache

WORTH_WAITING = 16  # tokens that another text is about to read: less is sooner read twice


class Slots:
    """At most `most` slots of `cache`, of which a text in work has one to itself.

    Slots keep the tokens of texts that have ended. A prompt goes where most of its beginning is. Where that slot is in
    work, or would lose more than it keeps, the beginning is copied to another one: an empty one, or while there may
    be more a new one, then the one given back first.
    """

    def __init__(self, cache: KVCache, most: int) -> None:
        assert most > 0
        self._cache, self.most = cache, most
        self._texts: list[list[int]] = []  # by slot: tokens of which the first cache.lengths[slot] are held
        self._busy: set[int] = set()
        self._given_back: list[int] = []  # free slots, the one given back first before the others

    def take(self, prompt: Sequence[int]) -> int | None:
        """A slot for `prompt`, cut back to what it shares with it; None: none is free, or it is better to wait.

        The last token of the prompt is never held: it has to be read for what follows it.
        """
        room = len(self._texts) < self.most
        if not room and not self._given_back:
            return None
        held = {slot: self._shared(slot, prompt, self._cache.lengths[slot]) for slot in range(len(self._texts))}
        best = max(held, key=lambda slot: held[slot], default=None)
        shared = 0 if best is None else held[best]
        if any(self._shared(slot, prompt, len(self._texts[slot])) >= shared + WORTH_WAITING for slot in self._busy):
            return None
        goes_on = best in self._given_back and shared > 0 and 2 * shared >= self._cache.lengths[best]
        slot = best if goes_on else self._oldest(room)
        assert slot is not None
        if slot == best:
            self._cache.lengths[slot] = shared
        elif best is not None:
            self._cache.copy(best, slot, shared)
        if slot in self._given_back:
            self._given_back.remove(slot)
        self._busy.add(slot)
        return slot

    def note(self, slot: int, text: list[int]) -> None:
        """The text in work in `slot`; the list may grow."""
        self._texts[slot] = text

    def give_back(self, slot: int) -> None:
        """The text in `slot` has ended; what was read of it stays."""
        self._texts[slot] = self._texts[slot][: self._cache.lengths[slot]]
        self._busy.remove(slot)
        self._given_back.append(slot)

    def _shared(self, slot: int, prompt: Sequence[int], held: int) -> int:
        text, limit = self._texts[slot], min(held, len(self._texts[slot]), len(prompt) - 1)
        if list(text[:limit]) == list(prompt[:limit]):
            return limit
        return next(place for place in range(limit) if text[place] != prompt[place])

    def _oldest(self, room: bool) -> int:
        empty = [slot for slot in self._given_back if self._cache.lengths[slot] == 0]
        if empty:
            return min(empty)
        if not room:
            return self._given_back[0]
        self._texts.append([])
        if len(self._texts) > self._cache.slots:
            self._cache.reserve(min(self.most, 2 * self._cache.slots), 0)
        self._cache.lengths[len(self._texts) - 1] = 0
        return len(self._texts) - 1
