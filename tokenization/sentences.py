"""Split text into sentences, English and Chinese, by rules. The sentences concatenate to the text.

Where blanks go is chosen for tokenizers: line feeds end the sentence before them, other blanks begin the next one, as
byte-level BPE has them in one token with the punctuation before and the word behind.
"""

from __future__ import annotations

import re

_CLOSING = "”’»)\\]}）】」』》〉"
_OPENING = "\"'“‘«([{（【「『《〈¿¡*_-—–"
_CANDIDATE = re.compile(
    f"(?P<chinese>[。！？；｡][。！？；｡…]*[{_CLOSING}]*)"
    rf"|(?P<latin>[.!?…]++)[\"'{_CLOSING}]*+(?=\s)"
    f"|(?P<ellipsis>…++)[{_CLOSING}]*(?=[\u3400-\u9fff{_OPENING[2:]}])"
    r"|(?P<paragraph>\n)(?=[ \t]*\n)"
    "|(?<=[\u3400-\u9fff])(?P<line>\n)|(?P<before>\n)(?=[ \t\u3000]*[\u3400-\u9fff])"
    "|(?P<none>[.!?…]*[.!?]|…++)"
)
"""Where a sentence may end: at Chinese stops wherever they stand, at Latin ones before a blank, at an ellipsis inside
Chinese, at a blank line, and at the end of a line where Chinese stands on either side of it. A run of stops that ends
nothing is matched as a whole: it would be tried from each of its places."""
_BLANKS = re.compile(r"\s*")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEVER = _words(
    "mr mrs ms messrs mme dr prof rev hon fr st mt gen col capt lt sgt maj cmdr adm gov sen rep pres supt det insp vs"
    " viz cf e.g i.e eg ie approx ca al"
)
"""Abbreviations after which the sentence goes on."""
_BEFORE_NUMBERS = _words(
    "no nos fig figs vol vols ch sec art eq pp p pt jan feb mar apr jun jul aug sep sept oct nov dec"
)
"""Abbreviations after which the sentence goes on if a number follows."""
_STARTERS = _words("The A An He She It We They I You In On At This That These Those But And So If When There")
"""Words that begin a sentence even after initials (`in the U.S. The`)."""


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`; none is empty, and they concatenate to it. An empty text has none."""
    borders, place = [0], 0
    while match := _CANDIDATE.search(text, place):
        end = place = match.end()
        if match["none"] is not None:
            continue
        blanks = _BLANKS.match(text, end)
        assert blanks is not None
        if blanks.end() == len(text):
            break
        if match["latin"] is not None and not _ends(text, match, blanks.end(), "\n\n" in blanks[0]):
            continue
        place = blanks.end()  # further candidates among the blanks would be the same border
        border = end + blanks[0].rfind("\n") + 1
        if border > borders[-1] and text[borders[-1] : border].strip():
            borders.append(border)
    return [text[a:b] for a, b in zip(borders, [*borders[1:], len(text)], strict=True) if a < b]


def _ends(text: str, match: re.Match[str], following: int, paragraph: bool) -> bool:
    """Whether the Latin stop `match` ends a sentence when the next word begins at `following`."""
    if paragraph:
        return True
    rest = text[following : following + 40].lstrip(_OPENING)
    if rest[:1].islower():
        return False
    if match["latin"] != ".":
        return True
    start = match.start()
    word = re.split(r"[\s\"'“‘«(\[{—–-]", text[max(0, start - 24) : start])[-1]
    lowered = word.lower()
    if lowered in _NEVER:
        return False
    if lowered in _BEFORE_NUMBERS and rest[:1].isdigit():
        return False
    if word != "I" and _INITIALS.fullmatch(word):
        return re.split(r"\W", rest, maxsplit=1)[0] in _STARTERS and "." in word
    return True
