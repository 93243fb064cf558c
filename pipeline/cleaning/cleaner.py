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
        return self.clean_batch(texts, owners).texts

    def clean_batch(self, texts: list[bytes], owners: Sequence[int] | None = None) -> Texts:
        """The same, with the buffer they stand in."""
        changed: dict[str, set[int]] = {name: set() for name in self.changed}
        before = Texts(texts)
        batch = self._pass(before, range(len(texts)), changed)
        if batch is not before and not self._settled:
            batch = self._repeat(texts, batch.texts, changed)
        for name, found in changed.items():
            self.changed[name] += len(found if owners is None else {owners[place] for place in found})
        return batch

    def _repeat(self, before: list[bytes], texts: list[bytes], changed: dict[str, set[int]]) -> Texts:
        """Some step can make work for one before it (an entity that spells a tag): what changed from `before` to
        `texts` goes through all of them again until nothing changes."""
        places = _different(before, texts)
        for _ in range(MOST_PASSES):
            if not places:
                break
            old = [texts[place] for place in places]
            new = self._pass(Texts(old), places, changed).texts
            for place, text in zip(places, new, strict=True):
                texts[place] = text
            places = [places[at] for at in _different(old, new)]
        return Texts(texts)

    def _pass(self, batch: Texts, places: Sequence[int], changed: dict[str, set[int]]) -> Texts:
        """All steps once. `places` are those of the documents in the whole batch."""
        for step in self._steps:
            after = step.clean_batch(batch)
            if after is not batch:
                found = _different(batch.texts, after.texts) if after.changed is None else after.changed
                changed[step.name].update([places[at] for at in found])
                batch = after
        return batch


def _different(before: list[bytes], after: list[bytes]) -> list[int]:
    """The places at which the two lists differ."""
    return list(compress(range(len(before)), map(ne, before, after)))
