"""Text that was decoded with the wrong encoding, repaired by ftfy (Robyn Speer, https://ftfy.readthedocs.io)."""

from __future__ import annotations

import re

from pipeline.cleaning.base import TextStep

# The first bytes of the characters that wrongly decoded UTF-8 is made of (`MOJIBAKE_CATEGORIES` of ftfy.badness).
_SUSPECT = rb"(?:[\xc2-\xdf][\x80-\xbf]|\xe2[\x80-\xbf]{2}|\xef(?:\xac[\x80-\xbf]|\xbf\xbd|\xa3\xbf))"
_SMELL = re.compile(
    rb"\xc2[\x80-\x9f]"  # a control character that no text wants
    rb"|\xc3[\x82\x83] "  # Â or Ã and a space that once was U+00A0
    rb"|\xc5[\x92\x93]"  # œ
    rb"|" + _SUSPECT + rb"(?=" + _SUSPECT + rb")"
)


class RepairMojibake(TextStep):
    """`Ã©` becomes `é`, `â€™` becomes `’`: what ftfy's `fix_encoding` does, line by line. It reads no more than some
    megabytes a second, so it is asked only about lines that hold what every sign of its own test holds."""

    name = "repair_mojibake"

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return _SMELL.search(buffer) is not None

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        from ftfy import fix_encoding  # a tenth of a second that only those pay who want it

        lines = text.split(b"\n")
        return b"\n".join([fix_encoding(line.decode()).encode() if self.needed(line) else line for line in lines])
