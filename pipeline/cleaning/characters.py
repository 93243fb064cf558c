"""Newlines, control characters and characters of no width."""

from __future__ import annotations

import re

import numpy as np

from pipeline.arrays import Bytes, Places, places_of
from pipeline.cleaning.base import BufferStep, Texts, TextStep

_CONTROL_BYTES = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
_C1 = re.compile(rb"\xc2[\x80-\x9f]")  # U+0080 to U+009F; 0xC2 occurs in UTF-8 as a first byte only
_C1_MEANT = {
    chr(byte).encode(): bytes([byte]).decode("cp1252").encode()
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)  # unassigned in Windows-1252
}


class UnifyNewlines(BufferStep):
    """CR LF and CR become LF."""

    name = "unify_newlines"

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


class RepairC1Controls(TextStep):
    """U+0080 to U+009F become the characters that Windows-1252 has at these bytes, where it has one: they come from
    text that was read as Latin-1 and meant “ ” ’ – — … (the WHATWG Encoding Standard reads Latin-1 so too)."""

    name = "repair_c1_controls"
    settled = True

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return b"\xc2" in buffer

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return _C1.sub(lambda found: _C1_MEANT.get(found[0], found[0]), text)

    def clean_batch(self, batch: Texts) -> Texts:
        """See `Step.clean_batch`."""
        if not self.needed(batch.joined):
            return batch
        return batch.mapped(self.clean, batch.documents_at(_c1_places(batch.array)).tolist())


class RemoveControlCharacters(BufferStep):
    """Unicode category Cc goes, but for LF, CR and tab."""

    name = "remove_control_characters"

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        array = np.frombuffer(text, np.uint8)
        low = np.count_nonzero(array < 0x20)  # counting is several times as fast as translating
        kept = sum(np.count_nonzero(array == byte) for byte in b"\n\t\r" if byte in text)
        if low != kept or b"\x7f" in text:
            text = text.translate(None, _CONTROL_BYTES)
        return _C1.sub(b"", text) if b"\xc2" in text and len(_c1_places(np.frombuffer(text, np.uint8))) else text


def _c1_places(array: Bytes) -> Places:
    """Where U+0080 to U+009F stand: after 0xC2, which is never the last byte."""
    places = places_of(array == 0xC2)
    return places[array[places + 1] < 0xA0]


_JOINERS = "\u200c\u200d"
_ZERO_WIDTH = re.compile(
    f"[{_JOINERS}\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]+"
)
_ZERO_WIDTH_BYTES = re.compile(
    rb"\xe2(?:\x80[\x8b-\x8f\xaa-\xae]|\x81[\xa0-\xaf])|\xef(?:\xbb\xbf|\xbf[\xb9-\xbb])|\xc2\xad|\xe1\xa0\x8e"
)


class RemoveZeroWidth(TextStep):
    """Zero-width spaces, word joiners, byte order marks, soft hyphens and marks of writing direction go. The zero-width
    joiner and non-joiner shape, or join, what stands on both sides of them: one of them stays between two characters
    that are neither ASCII nor white space, as in emoji and in Persian and Indian words. The tag characters of flags
    stay."""

    name = "remove_zero_width"

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return any(lead in buffer for lead in (b"\xe2", b"\xef", b"\xc2", b"\xe1")) and bool(
            _ZERO_WIDTH_BYTES.search(buffer)
        )

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        decoded = text.decode()

        def kept(run: re.Match[str]) -> str:
            before, after = decoded[max(0, run.start() - 1) : run.start()], decoded[run.end() : run.end() + 1]
            if not (_joins(before) and _joins(after)):
                return ""
            return next((character for character in run[0] if character in _JOINERS), "")

        return _ZERO_WIDTH.sub(kept, decoded).encode()


def _joins(character: str) -> bool:
    return bool(character) and not character.isascii() and not character.isspace()
