"""Clean documents, a batch at a time: the configured steps in their order.

Text is UTF-8 bytes here: most steps then run at memory speed on one buffer that holds the whole batch, and only what is
not ASCII is ever decoded. Cleaning is idempotent: cleaning cleaned text changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import ne

from pipeline.cleaning.base import Step, Texts
from pipeline.cleaning.blanks import CollapseBlanks
from pipeline.cleaning.characters import RemoveControlCharacters, RemoveZeroWidth, RepairC1Controls, UnifyNewlines
from pipeline.cleaning.html import DecodeHtmlEntities, RemoveHtmlTags, ReplaceBrTags
from pipeline.cleaning.masks import MaskEmails, MaskIps, MaskUrls
from pipeline.cleaning.mojibake import RepairMojibake
from pipeline.cleaning.unicode_form import UnicodeForm
from pipeline.settings.cleaning import CleaningSettings

MOST_PASSES = 32

_Build = Callable[[CleaningSettings], Step | None]
STEPS: dict[str, _Build] = {
    "repair_mojibake": lambda s: RepairMojibake() if s.repair_mojibake else None,
    "repair_c1_controls": lambda s: RepairC1Controls() if s.repair_c1_controls else None,
    "unify_newlines": lambda s: UnifyNewlines() if s.unify_newlines else None,
    "remove_control_characters": lambda s: RemoveControlCharacters() if s.remove_control_characters else None,
    "remove_zero_width": lambda s: RemoveZeroWidth() if s.remove_zero_width else None,
    "decode_html_entities": lambda s: DecodeHtmlEntities() if s.decode_html_entities else None,
    "remove_html_tags": lambda s: RemoveHtmlTags() if s.remove_html_tags else None,
    "replace_br_tags": lambda s: ReplaceBrTags() if s.replace_br_tags else None,
    "unicode_form": lambda s: None if s.unicode_form == "none" else UnicodeForm(s.unicode_form),
    "url_mask": lambda s: None if s.url_mask is None else MaskUrls(s.url_mask),
    "email_mask": lambda s: None if s.email_mask is None else MaskEmails(s.email_mask),
    "ip_mask": lambda s: None if s.ip_mask is None else MaskIps(s.ip_mask),
    "collapse_blanks": lambda s: CollapseBlanks() if s.collapse_blanks else None,
}
"""Every step by its setting, in the order they run: what shows how text was damaged is read before it is removed,
characters come before the markup they may spell, and white space, which most steps leave behind, last."""


class Cleaner:
    """The configured steps. `changed` counts, for each step, the documents it changed."""

    def __init__(self, settings: CleaningSettings) -> None:
        built = (build(settings) for build in STEPS.values())
        self._steps = [step for step in built if step is not None]
        self._settled = all(step.settled for step in self._steps)
        self.changed = {step.name: 0 for step in self._steps}

    def clean(self, texts: list[bytes], owners: Sequence[int] | None = None) -> list[bytes]:
        """The cleaned texts, in order. `owners` names the document of each text, where several belong to one."""
        changed: dict[str, set[int]] = {name: set() for name in self.changed}
        texts, places = self._pass(texts, range(len(texts)), changed)
        if not self._settled:
            self._repeat(texts, places, changed)
        for name, found in changed.items():
            self.changed[name] += len(found if owners is None else {owners[place] for place in found})
        return texts

    def _repeat(self, texts: list[bytes], places: list[int], changed: dict[str, set[int]]) -> None:
        """Some step can make work for one before it (an entity that spells a tag): what changed goes through all of
        them again until nothing changes."""
        for _ in range(MOST_PASSES):
            if not places:
                return
            again, places_again = self._pass([texts[place] for place in places], places, changed)
            for place, text in zip(places, again, strict=True):
                texts[place] = text
            places = places_again

    def _pass(
        self, texts: list[bytes], places: Sequence[int], changed: dict[str, set[int]]
    ) -> tuple[list[bytes], list[int]]:
        """All steps once: the new texts, and those of `places` (theirs in the batch) where one differs."""
        before = batch = Texts(texts)
        for step in self._steps:
            after = step.clean_batch(batch)
            if after is not batch:
                changed[step.name].update(compress(places, map(ne, after.texts, batch.texts)))
                batch = after
        if batch is before:
            return texts, []
        return batch.texts, list(compress(places, map(ne, batch.texts, texts)))
