"""Where the sentences of documents end, in tokens: only where the sentences' own tokens make up the document's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shards.documents import SENTENCE, Rows
from tokenization.engines.base import Borders, Ids
from tokenization.sentences import split_sentences

Encode = Callable[[list[bytes]], tuple[Ids, Borders]]
"""Ids of texts back to back, without terminators, and their borders."""


def sentence_rows(
    texts: list[bytes], tokens: npt.NDArray[np.generic], lengths: npt.NDArray[np.int64], terminator: int, encode: Encode
) -> Rows:
    """The sentences of documents (n,) of SENTENCE: `texts`, their `tokens` back to back, the last `terminator` of each
    ending it. Documents with one sentence, and those whose sentences give other tokens, have no rows."""
    split = {place: parts for place, text in enumerate(texts) if len(parts := split_sentences(text.decode())) > 1}
    ids, borders = encode([part.encode() for parts in split.values() for part in parts])
    starts = np.cumsum(lengths) - lengths
    rows: list[tuple[int, int]] = []
    first = 0
    for place, parts in split.items():
        own = borders[first : first + len(parts) + 1]
        first += len(parts)
        start = int(starts[place])
        if np.array_equal(ids[own[0] : own[-1]], tokens[start : start + int(lengths[place]) - terminator]):
            ends = np.unique(own[1:] - own[0])  # a sentence without tokens belongs to the one before
            rows += [(place, end) for end in ends.tolist() if end and len(ends) > 1]
    return np.array(rows, SENTENCE)
