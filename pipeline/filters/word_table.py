"""The words of a whole batch as numbers: counted, and in order, for the filters that need them.

Arrow cuts at white space and finds the distinct chunks; the rules of `words` run once for each distinct chunk, and
their outcome is kept for the batches to come. Cost: about 15 ns a byte of English.
"""

from __future__ import annotations

from array import array
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Places
from pipeline.filters.base import TextBatch
from pipeline.filters.characters import cjk_leads
from pipeline.filters.punctuation import NO_WORD
from pipeline.filters.words import is_cjk, split_chunk

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""The stop words of Gopher's quality filter (Rae et al. 2021, appendix A.1.1)."""
_STOP_BIT = {word: 1 << bit for bit, word in enumerate(STOP_WORDS)}
_MAX_BYTES = 100_000_000
_COLUMNS = ("words", "counted", "counted_characters", "alphabetic", "cjk", "stop_words", "first")


class _Words(dict[str, int]):
    """The number of each word seen, and by number what is to be known of it."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths = array("i")
        self.features: list[tuple[int, int, int, int, int]] = []

    def __missing__(self, word: str) -> int:
        counted = not NO_WORD.issuperset(word)
        alphabetic = word.isalpha() or any(map(str.isalpha, word))
        self.lengths.append(len(word))
        self.features.append((counted, counted * len(word), alphabetic, is_cjk(word), _STOP_BIT.get(word, 0)))
        self[word] = number = len(self)
        return number


class _Chunks(dict[str, int]):
    """The number of each chunk seen, and by number what is to be known of its words: a row of _COLUMNS in `table`."""

    def __init__(self) -> None:
        super().__init__()
        self.known = _Words()
        self.table = array("i")
        self.words = array("i")
        self._bytes = 0

    def __missing__(self, chunk: str) -> int:
        numbers = [self.known[word] for word in split_chunk(chunk)]
        if len(numbers) == 1:
            features = self.known.features[numbers[0]]
        else:
            features = _total([self.known.features[number] for number in numbers])
        self.table.extend((len(numbers), *features, len(self.words)))
        self.words.extend(numbers)
        self._bytes += len(chunk) + 400
        self[chunk] = number = len(self)
        return number

    @property
    def full(self) -> bool:
        """Whether it is time to forget everything, to bound memory."""
        return self._bytes > _MAX_BYTES


def _total(features: list[tuple[int, int, int, int, int]]) -> tuple[int, int, int, int, int]:
    counted = characters = alphabetic = cjk = stop_words = 0
    for each in features:
        counted += each[0]
        characters += each[1]
        alphabetic += each[2]
        cjk += each[3]
        stop_words |= each[4]
    return counted, characters, alphabetic, cjk, stop_words


_chunks = _Chunks()


class WordTable:
    """Words of the documents of a batch. Numbers of words mean something within one batch only.

    It keeps no reference to the batch, which keeps one to it: memory is given back without waiting for the collector.
    """

    def __init__(self, batch: TextBatch) -> None:
        global _chunks
        if _chunks.full:
            _chunks = _Chunks()
        self._chunks = _chunks
        self._rows, self._borders = self._read(batch)

    def _read(self, batch: TextBatch) -> tuple[npt.NDArray[np.int64], Places]:
        """The number of each chunk, and the border of each document among the chunks, (n + 1,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        data, offsets = _spaced(batch)
        texts = pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(offsets), pa.py_buffer(data))
        lists = pc.utf8_split_whitespace(texts)
        encoded = lists.flatten().dictionary_encode()
        numbers = np.array([self._chunks[chunk] for chunk in encoded.dictionary.to_pylist()], np.int64)
        return numbers[encoded.indices.to_numpy()], lists.offsets.to_numpy().astype(np.int64)

    def _column(self, name: str) -> npt.NDArray[np.int32]:
        """A column of the table for each chunk; no view of the table stays, which could not grow then."""
        table = np.frombuffer(self._chunks.table, np.int32).reshape(-1, len(_COLUMNS))
        return table[:, _COLUMNS.index(name)][self._rows]

    def sums(self, name: str) -> npt.NDArray[np.int64]:
        """A count of each document, (n,): `words`; `counted`, the words that are more than punctuation, and
        `counted_characters`, their characters; `alphabetic`, words with a letter; `cjk`, words that are a CJK
        character."""
        return _sum(self._column(name), self._borders)

    def stop_words(self) -> npt.NDArray[np.int64]:
        """How many different ones of STOP_WORDS each document has, (n,)."""
        present = self._column("stop_words")
        found = np.zeros(len(self._borders) - 1, np.int32)
        filled = np.diff(self._borders) > 0
        found[filled] = np.bitwise_or.reduceat(present, self._borders[:-1][filled])
        return np.bitwise_count(found).astype(np.int64)

    @cached_property
    def borders(self) -> Places:
        """The border of each document among the words, (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sums("words"))])

    @cached_property
    def numbers(self) -> npt.NDArray[np.int32]:
        """All words in order, equal words as equal numbers, (w,)."""
        counts = self._column("words")
        first = self._column("first")
        shift = np.repeat(first - (np.cumsum(counts, dtype=np.int64) - counts), counts)
        return np.frombuffer(self._chunks.words, np.int32)[shift + np.arange(len(shift))]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Characters of each word, (w,)."""
        return np.frombuffer(self._chunks.known.lengths, np.int32)[self.numbers]

    @cached_property
    def documents(self) -> Places:
        """The document of each word, (w,)."""
        return np.repeat(np.arange(len(self._borders) - 1), np.diff(self.borders))

    @cached_property
    def mostly_cjk(self) -> npt.NDArray[np.bool_]:
        """Documents in which most words are CJK characters, (n,): text without spaces."""
        return 2 * self.sums("cjk") > self.sums("words")


def _spaced(batch: TextBatch) -> tuple[bytes, Places]:
    """All documents joined, with spaces around CJK characters, so that each is a chunk; borders, (n + 1,)."""
    leads = np.flatnonzero(cjk_leads(batch))
    data = batch.buffer
    if not len(leads):
        return b"".join(batch.texts), np.concatenate([[0], np.cumsum(batch.lengths)])
    size = np.where(data[leads] >= 0xF0, 4, 3)
    spaced = np.insert(data, np.concatenate([leads, leads + size]), 0x20)
    ends = np.flatnonzero(spaced == 0xFF)
    spaced[ends] = 0x20
    return spaced.tobytes(), np.concatenate([[0], ends + 1])


def _sum(values: npt.NDArray[np.int32], borders: Places) -> npt.NDArray[np.int64]:
    total = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.diff(total[borders])
