"""Drop documents that say the same again and again: repeated lines, repeated n-grams. Suits every script.

Lines (the "duplicate line character fraction" of Gopher, Rae et al. 2021, table A1): the share of the bytes of the
lines that stand in a line equal to an earlier one; empty lines are left out.

N-grams: an n-gram is N_GRAM = 32 bytes (six English words, ten Chinese characters), so that nothing depends on what a
word is. Counted are those n-grams that begin where a hash of their first four bytes falls under a limit ("mod
sampling": Broder 1997, On the resemblance and containment of documents): one place in 32, or in 64 in documents of
SHORT bytes and more. A document repeats itself in the share of its sampled n-grams that were sampled before in it. As
equal text is sampled at equal places, a repeated passage shows wherever it stands. Only text of few distinct four-byte
groups may have no sample at all ("ha ha ha"): in a stretch without one of more than GAP_SHORT bytes (GAP, GAP_LONG in
documents of SHORT bytes and of LONG) all n-grams are counted (of the first DENSE places, which then stand for all), and
weigh as much as the samples the stretch should have had. Fewer than MIN_SAMPLES samples are no evidence, and keep the
document.

Cost: about 1.5 ns a byte; only documents with a line that looks repeated are looked at by themselves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Places, places_of
from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.hashing import mix, repeated_in_document

N_GRAM = 32
SHORT = 512
LONG = 1024
GAP_SHORT, GAP, GAP_LONG = 224, 448, 768
DENSE = 1 << 16
MIN_SAMPLES = 4
_EVERY_SHORT, _EVERY = 32, 64
_MULTIPLIERS = (37, 91, 167, 59)
_KEEP_BYTES = np.array([(1 << 8 * size) - 1 for size in range(8)] + [2**64 - 1], np.uint64)


class RepetitionFilter(Filter):
    """Reasons: `repeated_lines`, `repeated_ngrams`. A limit of None switches its rule off."""

    def __init__(self, max_repeated_lines: float | None, max_repeated_ngrams: float | None) -> None:
        self._max_lines, self._max_ngrams = max_repeated_lines, max_repeated_ngrams

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        dropped: dict[int, str] = {}
        if self._max_ngrams is not None and len(batch):
            repeated, total = repeated_ngrams(batch)
            much = (repeated > self._max_ngrams * total) & (total >= MIN_SAMPLES)
            dropped |= dict.fromkeys(np.flatnonzero(much).tolist(), "repeated_ngrams")
        if self._max_lines is not None and len(batch):
            for place in documents_with_equal_lines(batch).tolist():
                if repeated_line_share(batch.texts[place]) > self._max_lines:
                    dropped[place] = "repeated_lines"
        return Verdicts(dropped)


def repeated_line_share(text: bytes) -> float:
    """The share of the bytes in lines that stand in a line equal to an earlier one."""
    lines = [line for line in text.split(b"\n") if line]
    total = sum(map(len, lines))
    return 1 - sum(map(len, set(lines))) / total if total else 0.0


def documents_with_equal_lines(batch: TextBatch) -> Places:
    """The documents that may hold two equal lines that are not empty: every one that does, hardly any other."""
    starts, ends, documents = batch.lines
    filled = np.flatnonzero(ends > starts)
    starts, documents = starts[filled], documents[filled]
    length = ends[filled] - starts
    size = np.minimum(length, 8)
    middle = batch.windows[starts + (length - size) // 2] & _KEEP_BYTES[size]  # eight bytes tell most lines apart
    return np.unique(repeated_in_document(mix([middle, length]), documents, len(batch)))


def repeated_ngrams(batch: TextBatch) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sampled n-grams of each document that were sampled before in it, and all sampled, (n,) each."""
    n = len(batch)
    every = np.where(batch.lengths < SHORT, _EVERY_SHORT, _EVERY)
    places = places_of(_four_byte_hash(batch.buffer) < np.repeat((256 // every).astype(np.uint8), batch.lengths + 1))
    documents = batch.documents_of(places)
    last = batch.ends - N_GRAM  # where a document's last n-gram begins
    inside = places <= last[documents]
    places, documents = places[inside], documents[inside]
    mixed = mix(batch.passages(places, N_GRAM).T)
    repeated = np.bincount(repeated_in_document(mixed, documents, n), minlength=n).astype(np.float64)
    total = np.bincount(documents, minlength=n).astype(np.float64)

    _count_stretches(batch, places, documents, every, repeated, total)
    return repeated, total


def _count_stretches(
    batch: TextBatch,
    places: Places,
    documents: Places,
    every: Places,
    repeated: npt.NDArray[np.float64],
    total: npt.NDArray[np.float64],
) -> None:
    """Add to `repeated` and `total` what the long stretches without a sample hold."""
    n = len(batch)
    # A stretch begins at a document's start or at a sample, and ends at a sample or at the document's last n-gram.
    begin = np.concatenate([[0], places[:-1]]) if len(places) else places
    first = np.flatnonzero(np.diff(documents, prepend=-1))
    begin[first] = batch.starts[documents[first]]
    behind = batch.starts.copy()
    behind[documents] = places  # of equal documents the last place stays
    lengths = np.concatenate([places - begin, batch.ends - N_GRAM - behind])
    owners = np.concatenate([documents, np.arange(n)])
    longest = np.select([batch.lengths < SHORT, batch.lengths < LONG], [GAP_SHORT, GAP], GAP_LONG)
    wide = np.flatnonzero(lengths > longest[owners])
    if not len(wide):
        return
    begin, length, owners = np.concatenate([begin, behind])[wide], lengths[wide], owners[wide]
    dense = np.minimum(length, DENSE)
    number = np.repeat(np.arange(len(wide)), dense)
    inside = np.arange(len(number)) + np.repeat(begin - (np.cumsum(dense) - dense), dense)
    mixed = mix(batch.passages(inside, N_GRAM).T)
    share = np.bincount(repeated_in_document(mixed, number, len(wide)), minlength=len(wide)) / dense
    weight = length / every[owners]
    repeated += np.bincount(owners, share * weight, n)
    total += np.bincount(owners, weight, n)


def _four_byte_hash(buffer: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A hash of the four bytes from each place on, (len(buffer),); in bytes only, which is what makes it cheap."""
    size = len(buffer)
    mixed = np.zeros(size, np.uint8)
    for step, multiplier in enumerate(_MULTIPLIERS):
        mixed[: max(0, size - step)] += buffer[step:]
        mixed *= np.uint8(multiplier)
    return mixed
