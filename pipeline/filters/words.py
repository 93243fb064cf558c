"""What a word is, to the filters that count words.

Text is cut at white space; a chunk between is cut by rules that give the words of spaCy's English tokenizer
(spacy.io/usage/linguistic-features#how-tokenizer-works, spaCy 3.8, MIT licence), since datatrove's filters count
those: punctuation comes off both ends, contractions split ("don't" is "do" "n't"), hyphens between letters split,
addresses stay whole. All but 7 of 50,000 IMDB reviews get the very same number of words. Two differences: each CJK
character is a word of its own (Chinese has no spaces; spaCy's English rules take a sentence for one word), and symbols,
currencies and units beyond those below are not looked up.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pipeline.filters.characters import CJK
from pipeline.filters.english import SPECIAL

_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_PUNCTUATION = re.escape("…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪" + _QUOTES)
_CURRENCY = "$£€¥฿₽﷼₠-₿"
_SYMBOLS = "¦©®°҂℀-⏿①-ⓩ─-➿⠀-⯿〄〒〓〠\U0001f000-\U0001faff"
_LOWER, _UPPER = "a-zß-öø-ÿ", "A-ZÀ-ÖØ-Þ"
_LETTER = "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿͰ-ϿЀ-ӿ\u0590-\u06ff\u0900-\u0dff\uac00-\ud7af"
_UNITS = (
    "km²|km³|km/h|kmh|km|m/s|m²|m³|dm²|dm³|dm|cm²|cm³|cm|mm²|mm³|mm|mbar|mb|mph|mg|m|ha|hPa|µm|µg|nm|yd|in|ft|kg|kb|g"
    "|gb|t|tb|lb|oz|Pa|MB|KB|GB|TB|T|G|M|K|%"
)
_PREFIX = re.compile(rf"\.\.+|US\$|[CA]\$|\+(?![0-9])|[§%=—–{_PUNCTUATION}{_CURRENCY}{_SYMBOLS}]")
_SUFFIX = re.compile(
    rf"(?:['’][sS]|(?<=[0-9])\+|(?<=°[FfCcKk])\.|(?<=[0-9])(?:{_UNITS}|US\$|[CA]\$|[{_CURRENCY}])"
    rf"|(?<=[0-9{_LOWER}%²\-+?:{_PUNCTUATION}])\.|(?<=[{_UPPER}][{_UPPER}])\.|[—–{_PUNCTUATION}{_SYMBOLS}])$"
)
_INFIX = re.compile(
    rf"\.\.+|[…{_SYMBOLS}]|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[{_LOWER}'\"”“`‘´’‚,„»«])\.(?=[{_UPPER}'\"”“`‘´’‚,„»«])"
    rf"|(?<=[{_LETTER}]),(?=[{_LETTER}])|(?<=[{_LETTER}0-9])(?:-|–|—|--|---|——|~)(?=[{_LETTER}])"
    rf"|(?<=[{_LETTER}0-9])[:<>=/](?=[{_LETTER}])"
)
_HOST = "[A-Za-z0-9\u00a1-\uffff]"
_ADDRESS = re.compile(
    rf"(?=\w)(?:[\w+\-.]{{2,}}://)?(?:\S+(?::\S*)?@)?(?:\d{{1,3}}(?:\.\d{{1,3}}){{3}}"
    rf"|(?:(?:{_HOST}[A-Za-z0-9\u00a1-\uffff_-]{{0,62}})?{_HOST}\.)+[{_LOWER}\u0101-\uffff]{{2,63}}\.?)"
    r"(?::\d{2,5})?(?:[/?#]\S*)?$"
)
_DIGIT = re.compile("[0-9]")
_CJK_CHARACTER = re.compile(f"([{CJK}])")
_PLAIN_END = ',.!?;:)"'
_APOSTROPHES = ("'", "’")
_MERGED = {chunk for chunk, words in SPECIAL.items() if len(words) == 1 and len(chunk) > 1}
_MERGED_STARTS = {chunk[:end] for chunk in _MERGED for end in range(1, len(chunk))}
_LONGEST_MERGED = 6
_LONGEST_SPECIAL = max(map(len, SPECIAL))
_LONGEST_SUFFIX = 9  # a unit, and what must stand before it
_LONGEST_CHUNK = 1000
_LONGEST_KEPT = 40


def words_of(text: str) -> list[str]:
    """The words of `text`, in order."""
    return [word for chunk in text.split() for word in split_chunk(chunk)]


def is_cjk(word: str) -> bool:
    """Whether `word` is a CJK character."""
    return len(word) == 1 and _CJK_CHARACTER.match(word) is not None


def split_chunk(chunk: str) -> tuple[str, ...]:
    """The words of `chunk`, which has no white space; joined they are the chunk."""
    if not chunk.isascii() and _CJK_CHARACTER.search(chunk):
        pieces = _CJK_CHARACTER.split(chunk)  # every second piece is one CJK character
        return tuple(w for at, piece in enumerate(pieces) if piece for w in ((piece,) if at % 2 else _known(piece)))
    return _known(chunk)


def _known(chunk: str) -> tuple[str, ...]:
    """The words of a chunk without CJK characters."""
    if len(chunk) <= _LONGEST_KEPT:
        return _split_kept(chunk)
    if len(chunk) <= _LONGEST_CHUNK:
        return _split(chunk)
    # No word of a language; the rules would take the square of its length.
    pieces = (chunk[at : at + _LONGEST_CHUNK] for at in range(0, len(chunk), _LONGEST_CHUNK))
    return tuple(word for piece in pieces for word in _split(piece))


@lru_cache(maxsize=1 << 16)
def _split_kept(chunk: str) -> tuple[str, ...]:
    return _split(chunk)


def _split(chunk: str) -> tuple[str, ...]:
    if not chunk:
        return ()
    if chunk.isascii():
        if chunk.isalpha() or chunk in SPECIAL:
            return SPECIAL.get(chunk) or (chunk,)
        word, end = chunk[:-1], chunk[-1]
        # Most of the rest, at a tenth of the cost; a full stop stays on a capital letter ("J.").
        stays = end == "." and not (word[-1:].islower() or (len(word) > 1 and word[-2:].isupper()))
        if word.isalpha() and end in _PLAIN_END and word not in SPECIAL and not stays:
            return word, end
    before, middle, behind = _strip_affixes(chunk)
    words = [*before, *_split_middle(middle), *reversed(behind)]
    return tuple(_merge_special(words) if len(words) > 1 else words)


def _strip_affixes(chunk: str) -> tuple[list[str], str, list[str]]:
    """Prefixes, what is left, suffixes (from the outside in); a special case is left whole."""
    before: list[str] = []
    behind: list[str] = []
    while chunk and not _is_special(chunk):
        first = _prefix_size(chunk)
        if first and _is_special(chunk[first:]):
            return [*before, chunk[:first]], chunk[first:], behind
        last = _suffix_size(chunk[first:]) if first < len(chunk) else 0
        if last and _is_special(chunk[:-last]):
            return before, chunk[:-last], [*behind, chunk[-last:]]
        if not first and not last:
            break
        if first:
            before.append(chunk[:first])
        if last:
            behind.append(chunk[-last:])
        chunk = chunk[first : len(chunk) - last]
    return before, chunk, behind


def _is_special(chunk: str) -> bool:
    return len(chunk) <= _LONGEST_SPECIAL and chunk in SPECIAL


def _prefix_size(chunk: str) -> int:
    if chunk[0].isalnum() and "$" not in chunk:
        return 0
    found = _PREFIX.match(chunk)
    return found.end() if found else 0


def _suffix_size(chunk: str) -> int:
    if chunk[-1].isalpha() and not _DIGIT.search(chunk):  # spares most chunks the long search
        return 2 if chunk[-1] in "sS" and chunk[-2:-1] in _APOSTROPHES else 0
    dots = len(chunk) - len(chunk.rstrip("."))
    if dots > 1:
        return dots
    found = _SUFFIX.search(chunk[-_LONGEST_SUFFIX:])
    return len(found.group()) if found else 0


def _split_middle(chunk: str) -> tuple[str, ...] | list[str]:
    if not chunk:
        return ()
    if chunk in SPECIAL:
        return SPECIAL[chunk]
    if chunk.isalpha() or ("." in chunk and _ADDRESS.match(chunk)):
        return (chunk,)
    words: list[str] = []
    done = 0
    for infix in _INFIX.finditer(chunk):
        if infix.start() == 0:
            continue
        words += [chunk[done : infix.start()], infix.group()]
        done = infix.end()
    return [word for word in [*words, chunk[done:]] if word]


def _merge_special(words: list[str]) -> list[str]:
    """`words` with neighbours joined that together are a special case: "(", "Brazil", ")", ":" ends in a "):"."""
    if _MERGED_STARTS.isdisjoint(words[:-1]):
        return words
    merged: list[str] = []
    at = 0
    while at < len(words):
        size = min(_LONGEST_MERGED, len(words) - at) if words[at] in _MERGED_STARTS else 1
        while size > 1 and "".join(words[at : at + size]) not in _MERGED:
            size -= 1
        merged.append("".join(words[at : at + size]))
        at += size
    return merged
