"""Clean a document's text. Every step tests cheaply whether it has anything to do, acts rarely, and is counted.

`clean` is idempotent: cleaning cleaned text changes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from pipeline.config import PipelineConfig

Step = Callable[[str], str]

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CONTROL_BYTES = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
_BR = re.compile(r"<br[ \t]*/?>", re.IGNORECASE)
_LINE_END_BLANKS = re.compile(r"[ \t]+\n")
_BLANK_RUN = re.compile(r"\n{3,}")


def unify_newlines(text: str) -> str:
    """CR LF and CR become LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def remove_control_characters(text: str) -> str:
    """Unicode category Cc goes, but for LF, CR and tab."""
    if text.isascii():  # deleting from bytes and comparing lengths runs at memory speed
        data = text.encode()
        kept = data.translate(None, _CONTROL_BYTES)
        return text if len(kept) == len(data) else kept.decode()
    return _CONTROL.sub("", text) if _CONTROL.search(text) else text


def replace_br_tags(text: str) -> str:
    """HTML line breaks become LF."""
    if "<" not in text:
        return text
    text = text.replace("<br />", "\n")
    return _BR.sub("\n", text) if "<b" in text or "<B" in text else text


def normalize_nfc(text: str) -> str:
    """Unicode Normalization Form C (Unicode Standard Annex 15)."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", text)


def collapse_blanks(text: str) -> str:
    """Blanks at line ends go, at most one empty line stays of a run, nothing blank at the ends of the text."""
    text = text.strip()
    if " \n" in text or "\t\n" in text:
        text = _LINE_END_BLANKS.sub("\n", text)
    return _BLANK_RUN.sub("\n\n", text) if "\n\n\n" in text else text


STEPS: dict[str, Step] = {
    "unify_newlines": unify_newlines,
    "remove_control_characters": remove_control_characters,
    "replace_br_tags": replace_br_tags,
    "normalize_nfc": normalize_nfc,
    "collapse_blanks": collapse_blanks,
}
"""All steps by the name of their setting, in the order they run."""


class Cleaner:
    """The configured steps. `changed` counts, for each step, the documents it changed."""

    def __init__(self, config: PipelineConfig) -> None:
        self._steps = [(name, step) for name, step in STEPS.items() if getattr(config, name)]
        self.changed = {name: 0 for name, _ in self._steps}

    def clean(self, text: str) -> str:
        """The cleaned text."""
        for name, step in self._steps:
            after = step(text)
            if after is not text and after != text:
                self.changed[name] += 1
                text = after
        return text
