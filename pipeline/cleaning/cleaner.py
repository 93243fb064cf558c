"""Clean documents, a batch at a time. Text is UTF-8 bytes here: most steps then run at memory speed, and only what
is not ASCII is ever decoded. Each step first asks, once for the whole batch, whether there is anything to do.

Cleaning is idempotent: cleaning cleaned text changes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from pipeline.config import PipelineConfig

_CONTROL_BYTES = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
_C1 = re.compile(rb"\xc2[\x80-\x9f]")  # U+0080 to U+009F; 0xC2 occurs in UTF-8 as a first byte only
_BR = re.compile(rb"<br[ \t]*/?>", re.IGNORECASE)
_BLANK_RUN = re.compile(rb"\n{3,}")


def unify_newlines(text: bytes) -> bytes:
    """CR LF and CR become LF."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def remove_control_characters(text: bytes) -> bytes:
    """Unicode category Cc goes, but for LF, CR and tab."""
    text = text.translate(None, _CONTROL_BYTES)
    return _C1.sub(b"", text) if b"\xc2" in text else text


def _has_control_characters(text: bytes) -> bool:
    return len(text.translate(None, _CONTROL_BYTES)) != len(text) or _C1.search(text) is not None


def replace_br_tags(text: bytes) -> bytes:
    """HTML line breaks become LF."""
    if b"<" not in text:
        return text
    text = text.replace(b"<br />", b"\n")
    return _BR.sub(b"\n", text) if b"<" in text else text


def normalize_nfc(text: bytes) -> bytes:
    """Unicode Normalization Form C (Unicode Standard Annex 15)."""
    if text.isascii():
        return text
    decoded = text.decode()
    return text if unicodedata.is_normalized("NFC", decoded) else unicodedata.normalize("NFC", decoded).encode()


def collapse_blanks(text: bytes) -> bytes:
    """Blanks at line ends go, at most one empty line stays of a run, no white space at the ends of the text."""
    text = text.strip()
    if text and (text[0] >= 0x80 or text[-1] >= 0x80):  # may end in a white space beyond ASCII
        text = text.decode().strip().encode()
    if b"\n" not in text:
        return text
    text = b"\n".join([line.rstrip(b" \t") for line in text.split(b"\n")])
    return _BLANK_RUN.sub(b"\n\n", text) if b"\n\n\n" in text else text


class Step(NamedTuple):
    """One cleaning step: `apply` on a document, `needed` on many joined ones (may say yes in vain, never no)."""

    apply: Callable[[bytes], bytes]
    needed: Callable[[bytes], bool]


STEPS: dict[str, Step] = {
    "unify_newlines": Step(unify_newlines, lambda joined: b"\r" in joined),
    "remove_control_characters": Step(remove_control_characters, _has_control_characters),
    "replace_br_tags": Step(replace_br_tags, lambda joined: b"<" in joined),
    "normalize_nfc": Step(normalize_nfc, lambda joined: not joined.isascii()),
    "collapse_blanks": Step(collapse_blanks, lambda joined: True),
}
"""All steps by the name of their setting, in the order they run."""


class Cleaner:
    """The configured steps. `changed` counts, for each step, the documents it changed."""

    def __init__(self, config: PipelineConfig) -> None:
        self._steps = {name: step for name, step in STEPS.items() if getattr(config, name)}
        self.changed = dict.fromkeys(self._steps, 0)

    def clean(self, texts: list[bytes]) -> list[bytes]:
        """The cleaned texts, in order."""
        joined = b"\n".join(texts)
        for name, (apply, needed) in self._steps.items():
            if needed(joined):
                cleaned = [apply(text) for text in texts]
                self.changed[name] += sum(map(bytes.__ne__, cleaned, texts))
                texts = cleaned
        return texts
