"""White space: at the ends of lines and of the text, and runs of empty lines."""

from __future__ import annotations

from operator import is_

import numpy as np
import numpy.typing as npt

from pipeline.cleaning.base import Texts

_LF, _TAB, _SPACE = 0x0A, 0x09, 0x20
_LONGEST_RUN = 64
# White_Space beyond ASCII (Unicode, PropList.txt)
_WHITE_SPACE = frozenset(chr(c).encode() for c in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
                                                   0x205F, 0x3000))  # fmt: skip
_FIRST = frozenset(space[0] for space in _WHITE_SPACE)
_LAST = frozenset(space[-1] for space in _WHITE_SPACE)


class CollapseBlanks:
    """Spaces and tabs at line ends go, at most one empty line stays of a run, no white space at the text's ends."""

    name = "collapse_blanks"
    settled = True

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return strip(tidy_lines(text))

    def clean_batch(self, batch: Texts) -> Texts:
        """See `Step.clean_batch`."""
        joined = tidy_lines(batch.joined)
        before = batch.texts if joined is batch.joined else Texts(joined=joined).texts
        texts = [text.strip() for text in before]
        for place, text in enumerate(texts):
            if text and (text[0] in _FIRST or text[-1] in _LAST):
                texts[place] = strip(text)
        if joined is batch.joined and all(map(is_, texts, before)):
            return batch
        return Texts(texts)


def strip(text: bytes) -> bytes:
    """`text` without the white space at its ends, ASCII's and Unicode's."""
    text = text.strip()
    while text[:3] in _WHITE_SPACE or text[:2] in _WHITE_SPACE:
        text = text[3 if text[:3] in _WHITE_SPACE else 2 :].lstrip()
    while text[-3:] in _WHITE_SPACE or text[-2:] in _WHITE_SPACE:
        text = text[: -3 if text[-3:] in _WHITE_SPACE else -2].rstrip()
    return text


def tidy_lines(buffer: bytes) -> bytes:
    """`buffer` without blanks before LF, and with at most two LF in a row. Copies only what lies between the cuts."""
    array = np.frombuffer(buffer, np.uint8)
    newlines = np.flatnonzero(array == _LF)
    starts = _blank_starts(array, newlines)
    if starts is None:
        return _tidy_line_by_line(buffer)
    follows = starts[1:] == newlines[:-1] + 1  # nothing but blanks between one LF and the next
    third = np.zeros(len(newlines), np.bool_)
    third[2:] = follows[1:] & follows[:-1]
    cut = np.flatnonzero(third | (starts < newlines))
    if not len(cut):
        return buffer
    begins = [0, *(newlines + third)[cut].tolist()]
    ends = [*starts[cut].tolist(), len(buffer)]
    return b"".join([buffer[begin:end] for begin, end in zip(begins, ends, strict=True)])


def _blank_starts(array: npt.NDArray[np.uint8], newlines: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
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
