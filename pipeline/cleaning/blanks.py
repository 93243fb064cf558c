"""White space: at the ends of lines and of the text, and runs of empty lines."""

from __future__ import annotations

import re

import numpy as np

from pipeline.arrays import Bytes, Mask, Places, places_of
from pipeline.cleaning.base import Texts

_LF, _TAB, _SPACE = 0x0A, 0x09, 0x20
_LONGEST_RUN = 64
# White_Space beyond ASCII (Unicode, PropList.txt)
_WHITE_SPACE = frozenset(chr(c).encode() for c in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
                                                   0x205F, 0x3000))  # fmt: skip
_PAIRS, _TRIPLES = ([int.from_bytes(space) for space in _WHITE_SPACE if len(space) == size] for size in (2, 3))
_BLANK = _WHITE_SPACE.union(b" \t\n\v\f\r"[place : place + 1] for place in range(6))
_BLANKS = re.compile(rb"\A(?:%s)*+" % b"|".join(sorted(_BLANK)))
_BLANKS_BACKWARDS = re.compile(rb"\A(?:%s)*+" % b"|".join(sorted(blank[::-1] for blank in _BLANK)))
_IS_BLANK = np.isin(np.arange(256), list(b" \t\n\v\f\r"))


class CollapseBlanks:
    """Spaces and tabs at line ends go, at most one empty line stays of a run, no white space at the text's ends."""

    name = "collapse_blanks"
    settled = True

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return strip(tidy_lines(text))

    def clean_batch(self, batch: Texts) -> Texts:
        """See `Step.clean_batch`."""
        cuts = _line_cuts(batch.array)
        if cuts is None:
            return Texts([self.clean(text) for text in batch.texts])
        begins, ends = _end_cuts(batch)
        if not len(begins):
            return batch.without(*cuts)
        around = np.searchsorted(begins, cuts[0], "right") - 1
        apart = (around < 0) | (cuts[0] >= ends[around])  # from what goes at the ends of the text
        begins, ends = np.concatenate([begins, cuts[0][apart]]), np.concatenate([ends, cuts[1][apart]])
        order = np.argsort(begins, kind="stable")
        return batch.without(begins[order], ends[order])


def strip(text: bytes) -> bytes:
    """`text` without the white space at its ends, ASCII's and Unicode's."""
    return _strip_left(_strip_right(text))


def _strip_left(text: bytes) -> bytes:
    return _BLANKS.sub(b"", text, count=1)


def _strip_right(text: bytes) -> bytes:
    text = text.rstrip()
    if text[-3:] in _WHITE_SPACE or text[-2:] in _WHITE_SPACE:
        return _BLANKS_BACKWARDS.sub(b"", text[::-1], count=1)[::-1]
    return text


def _end_cuts(batch: Texts) -> tuple[Places, Places]:
    """The white space at the ends of the documents: where it begins and ends, (m,) each."""
    begins: list[int] = []
    ends: list[int] = []
    for place in np.flatnonzero(_blank_at_an_end(batch)).tolist():
        text, start, end = batch.document(place), int(batch.starts[place]), int(batch.ends[place])
        first, last = end - len(_strip_left(text)), start + len(_strip_right(text))
        for begin, behind in ((start, first), (last, end)) if first < last else ((start, end),):
            if begin < behind:
                begins.append(begin)
                ends.append(behind)
    return np.array(begins, np.int64), np.array(ends, np.int64)


def _blank_at_an_end(batch: Texts) -> Mask:
    """Whether each document begins or ends with white space, (n,)."""
    top = len(batch.array) - 1
    found = np.zeros(len(batch.ends), np.bool_)
    for outer, step in ((batch.starts, 1), (batch.ends - 1, -1)):
        near = [batch.array[np.clip(outer + step * distance, 0, top)].astype(np.uint32) for distance in range(3)]
        found |= _IS_BLANK[near[0]]
        if (near[0] >= 0x80).any():
            one, two, three = near if step == 1 else reversed(near)
            pair = one << 8 | two if step == 1 else two << 8 | three
            found |= np.isin(pair, _PAIRS) | np.isin(one << 16 | two << 8 | three, _TRIPLES)
    return found


def tidy_lines(buffer: bytes) -> bytes:
    """`buffer` without blanks before LF, and with at most two LF in a row. Copies only what lies between the cuts."""
    cuts = _line_cuts(np.frombuffer(buffer, np.uint8))
    if cuts is None:
        return _tidy_line_by_line(buffer)
    if not len(cuts[0]):
        return buffer
    kept = zip([0, *cuts[1].tolist()], [*cuts[0].tolist(), len(buffer)], strict=True)
    return b"".join([buffer[begin:end] for begin, end in kept])


def _line_cuts(array: Bytes) -> tuple[Places, Places] | None:
    """What is too much around LF: where it begins and ends, (m,) each; None when a run of blanks is very long."""
    newlines = places_of(array == _LF)
    starts = _blank_starts(array, newlines)
    if starts is None:
        return None
    follows = starts[1:] == newlines[:-1] + 1  # nothing but blanks between one LF and the next
    third = np.zeros(len(newlines), np.bool_)
    third[2:] = follows[1:] & follows[:-1]
    cut = np.flatnonzero(third | (starts < newlines))
    return starts[cut], (newlines + third)[cut]


def _blank_starts(array: Bytes, newlines: Places) -> Places | None:
    """Where the run of blanks before each LF begins (at the LF itself for none); None when a run is very long."""
    starts = newlines.copy()
    moving = np.flatnonzero(newlines > 0)
    for _ in range(_LONGEST_RUN):
        before = array[starts[moving] - 1]
        moving = moving[(before == _SPACE) | (before == _TAB)]
        if not len(moving):
            return starts
        starts[moving] -= 1
        moving = moving[starts[moving] > 0]
    return None


def _tidy_line_by_line(buffer: bytes) -> bytes:
    buffer = b"\n".join([line.rstrip(b" \t") for line in buffer.split(b"\n")])
    while b"\n\n\n" in buffer:  # a run shrinks by a third each time
        buffer = buffer.replace(b"\n\n\n", b"\n\n")
    return buffer
