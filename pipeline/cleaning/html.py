"""What HTML leaves in text: line breaks, tags and entities."""

from __future__ import annotations

import re
from html import unescape
from html.entities import html5

import numpy as np

from pipeline.cleaning.base import BufferStep, Texts, TextStep

_BR = re.compile(rb"<[bB][rR][ \t]*/?>")  # IGNORECASE would hide from the search that it begins with <


class ReplaceBrTags(BufferStep):
    """HTML line breaks become LF."""

    name = "replace_br_tags"

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return _BR.sub(b"\n", text) if b"<" in text else text

    def clean_batch(self, batch: Texts) -> Texts:
        """See `Step.clean_batch`. A text is changed where it is shorter now."""
        joined = self.clean(batch.joined)
        if len(joined) == len(batch.joined):
            return batch
        after = Texts(joined=joined)
        after.changed = np.flatnonzero(np.diff(after.ends - batch.ends, prepend=0)).tolist()
        return after


_ENTITY = re.compile(rb"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31}|#0*38|#[xX]0*26);")
_BORDER = re.compile(rb"(?=&)|(?<=;)")


class DecodeHtmlEntities(TextStep):
    """Character references become characters (HTML Standard, 13.2.5.72), where they end in a semicolon: an address's
    `?a=1&copy=2` stays. What was escaped several times is decoded as often."""

    name = "decode_html_entities"

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return b"&" in buffer and _ENTITY.search(buffer) is not None

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`. Once from left to right, however deep references stand in references: what one of them
        becomes belongs to the one that is open around it. That no two overlap makes the order without meaning."""
        done: list[bytes | bytearray] = []
        begun: list[bytearray] = []  # each from its & on: all that may yet become a reference
        for piece in _BORDER.split(text):
            while True:
                if piece[:1] == b"&":
                    begun.append(bytearray(piece))
                elif begun:
                    begun[-1] += piece
                else:
                    done.append(piece)
                    break
                if piece[-1:] != b";":
                    break
                character = _character(begun[-1])
                if character is None:  # nor is what it stands in one, which then holds a semicolon
                    done += begun
                    begun = []
                    break
                begun.pop()
                piece = character
        return b"".join([*done, *begun])


def _character(entity: bytearray) -> bytes | None:
    """What a reference stands for; None when it is none."""
    if not _ENTITY.fullmatch(entity):
        return None
    name = entity.decode()
    return unescape(name).encode() if name[1] == "#" or name[1:] in html5 else None


_BLOCKS = (
    "address article aside blockquote body br caption center col colgroup dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li link main"
    " menu meta nav noframes noscript ol optgroup option p pre section summary table tbody td template textarea tfoot"
    " th thead title tr ul"
)  # elements that begin and end on a line of their own
_INLINE = (
    "a abbr acronym applet area audio b base basefont bdi bdo big button canvas cite code data datalist del dfn em"
    " embed font i iframe img input ins kbd label map mark marquee meter nobr object output param picture progress q"
    " rp rt ruby s samp slot small source span strike strong sub sup svg time track tt u var video wbr"
)
_COMMENT, _COMMENT_END = re.compile(rb"(<!--)"), re.compile(rb"-->")
_HIDDEN = re.compile(rb"<(script|style)(?:\s[^<>]*+)?>", re.IGNORECASE)
_HIDDEN_END = {name: re.compile(rb"</%s\s*+>" % name, re.IGNORECASE) for name in (b"script", b"style")}
_VALUE = rb"""\s*=\s*(?:"[^"]*+"|'[^']*+'|[^\s"'=<>`]++)"""
_BOOLEAN = rb"(?:async|autofocus|autoplay|checked|controls|default|defer|disabled|hidden|ismap|loop|multiple|muted|" \
    rb"noshade|novalidate|nowrap|open|readonly|required|reversed|selected)"  # fmt: skip
_TAG = re.compile(
    rb"</?(%s)(?:\s++(?:[A-Za-z_:@][A-Za-z0-9_:.@-]*+%s|%s(?=[\s/>])))*+\s*+/?>"
    % ("|".join([*_BLOCKS.split(), *_INLINE.split(), "script", "style"]).encode(), _VALUE, _BOOLEAN),
    re.IGNORECASE,
)
_DECLARATION = re.compile(rb"<!doctype\s[^<>]*+>|<\?xml\s[^<>]*+>|<!\[CDATA\[|\]\]>", re.IGNORECASE)
_IS_BLOCK = frozenset(_BLOCKS.encode().split())


class RemoveHtmlTags(TextStep):
    """Tags of the elements that HTML knows (HTML Standard and its obsolete ones) go: those of blocks and `<br>` become
    LF, the others nothing. Comments, scripts and style sheets go with what they hold. `a < b`, `<3`, `<name>` stay."""

    name = "remove_html_tags"

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return b"<" in buffer or b"]]>" in buffer

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        text = _cut(text, _COMMENT, {b"<!--": _COMMENT_END})
        text = _cut(text, _HIDDEN, _HIDDEN_END)
        return _TAG.sub(lambda tag: b"\n" if tag[1].lower() in _IS_BLOCK else b"", _DECLARATION.sub(b"", text))


def _cut(text: bytes, begin: re.Pattern[bytes], ends: dict[bytes, re.Pattern[bytes]]) -> bytes:
    """`text` without what lies from each `begin` to its end, which its first group tells; what never ends stays."""
    pieces, kept, position = [], 0, 0
    endless: set[bytes] = set()
    while found := begin.search(text, position):
        position, kind = found.end(), found[1].lower()
        end = None if kind in endless else ends[kind].search(text, position)
        if end is None:
            endless.add(kind)  # not looked for again: a million beginnings cost one search
            continue
        pieces.append(text[kept : found.start()])
        kept = position = end.end()
    return b"".join([*pieces, text[kept:]]) if pieces else text
