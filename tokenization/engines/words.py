"""The fast engine for tokenizers of words (WordPiece, word-level, Unigram): what a word became is remembered.

These tokenizers cut the text at blanks before they do anything that could depend on a neighbour, so a text's ids are
those of its runs between blanks. BERT's pre-tokenizer also cuts at every ASCII punctuation mark and around every
Chinese character, which keeps the memory small. Each run is encoded once, by the reference, and looked up after that.
"""

from __future__ import annotations

import re
from array import array
from itertools import chain
from typing import Any

import numpy as np

from tokenization.engines.base import Borders, Engine, Ids
from tokenization.tokenizer import Tokenizer

MOST_WORDS = 600_000
"""Words remembered before the memory is dropped (about 100 MB)."""
LONGEST = 64
"""Bytes of the longest run that is remembered as a whole; longer ones hardly come again."""

_LINES_TO_BLANKS = bytes.maketrans(b"\t\n\r", b"   ")
_PUNCTUATION = rb"([!-/:-@\[-`{-~])"
_EDGE = rb"(?<=[0-9A-Za-z_])(?=[!-/:-@\[-^`{-~])|(?<=[!-/:-@\[-^`{-~])(?=[0-9A-Za-z_])"
"""Between an ASCII letter, digit or `_` and another ASCII sign: where the pre-tokenizer `Whitespace` always cuts."""
_CHINESE = rb"(\xe4[\xb8-\xbf][\x80-\xbf]|[\xe5-\xe8][\x80-\xbf]{2}|\xe9[\x80-\xbd][\x80-\xbf])"
"""U+4E00 … U+9F7F in UTF-8: ideographs of every version of Unicode, that decompose to nothing else."""


class WordsEngine:
    """Encodes in the calling thread. `parts` cuts a run further; `blank` is what a run keeps of the blank before it."""

    name = "words"

    def __init__(self, tokenizer: Tokenizer, parts: re.Pattern[bytes] | None, blank: str) -> None:
        self._tokenizer, self._parts, self._blank = tokenizer, parts, blank
        self._table = bytes(range(256)) if blank else _LINES_TO_BLANKS
        self._runs: dict[bytes, bytes] = {}
        self._words: dict[bytes, bytes] = {}

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        """See `Engine.encode_batch`."""
        end = b"" if terminator is None else np.uint32(terminator).tobytes()
        known = self._runs.get
        encoded: list[bytes] = []
        late: list[tuple[int, list[bytes]]] = []
        # Where a blank belongs to the word behind it, the first word of a text, which has none, is another word.
        firsts = [text.split(b" ", 1)[0] for text in texts] if self._blank else []
        for text in texts:
            runs = text.translate(self._table).split(b" ")
            if self._blank:
                del runs[0]
            try:
                encoded.append(b"".join(map(known, runs)) + end)  # type: ignore[arg-type]
            except TypeError:  # a run is not known
                late.append((len(encoded), runs))
                encoded.append(end)
        if late:
            self._catch_up(late, encoded, end)
        if self._blank:
            encoded = [first + rest for first, rest in zip(self._encode(firsts, ""), encoded, strict=True)]
        borders = np.cumsum([0, *map(len, encoded)], dtype=np.int64) // 4
        return np.frombuffer(b"".join(encoded), np.uint32), borders

    def _catch_up(self, late: list[tuple[int, list[bytes]]], encoded: list[bytes], end: bytes) -> None:
        """Learn the unknown runs of the texts in `late` and encode these texts."""
        known = self._runs
        new = [run for run in set().union(*(runs for _, runs in late)) if run not in known]
        known.update(self._learn(new))
        for place, runs in late:
            encoded[place] = b"".join(map(known.__getitem__, runs)) + end
        for run in new:
            if len(run) > LONGEST:
                del known[run]
        if len(known) + len(self._words) > MOST_WORDS:
            self._runs, self._words = {}, {}

    def _learn(self, runs: list[bytes]) -> dict[bytes, bytes]:
        if self._parts is None:
            return dict(zip(runs, self._encode(runs, self._blank), strict=True))
        cut = [[part for part in self._parts.split(run) if part] for run in runs]
        known, words = self._runs, self._words
        new = [word for word in set(chain.from_iterable(cut)) if word not in known and word not in words]
        fresh = dict(zip(new, self._encode(new, ""), strict=True))
        ids: dict[bytes, bytes] = {}
        for run, parts in zip(runs, cut, strict=True):
            encoded = [fresh.get(word) or words.get(word) or known.get(word) or b"" for word in parts]
            ids[run] = encoded[0] if len(encoded) == 1 else b"".join(encoded)
        words.update((word, value) for word, value in fresh.items() if word not in ids)
        return ids

    def _encode(self, words: list[bytes], before: str) -> list[bytes]:
        """The ids of each word by the reference, as bytes of uint32."""
        return [array("I", ids).tobytes() for ids in self._tokenizer.encode_ids([before + w.decode() for w in words])]


def build(tokenizer: Tokenizer) -> Engine | None:
    """An engine for WordPiece and word-level tokenizers with BERT's or no normaliser, and Unigram ones as trained here;
    None for others."""
    definition = tokenizer.json()
    normalizer, splitter = definition.get("normalizer") or {}, definition.get("pre_tokenizer") or {}
    kind = (definition.get("model") or {}).get("type")
    if any(not token.get("special") for token in definition.get("added_tokens") or []):
        return None  # it could contain a blank
    if kind == "Unigram" and not normalizer and _is_lines_then_words(splitter):
        return WordsEngine(tokenizer, None, " ")
    if kind not in ("WordPiece", "WordLevel") or normalizer.get("type", "BertNormalizer") != "BertNormalizer":
        return None
    if splitter.get("type") not in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit"):
        return None
    cuts = {"BertPreTokenizer": [_PUNCTUATION], "Whitespace": [_EDGE]}.get(splitter["type"], [])
    if normalizer.get("handle_chinese_chars"):
        cuts = [*cuts, _CHINESE]
    return WordsEngine(tokenizer, re.compile(b"|".join(cuts)) if cuts else None, "")


def _is_lines_then_words(splitter: dict[str, Any]) -> bool:
    """Whether every line feed and every run of ▁ and what follows is split off, with nothing put before the text."""
    steps = splitter.get("pretokenizers") or [splitter]
    lines = all(
        step.get("type") == "Split" and step.get("behavior") == "Isolated" and step.get("pattern") == {"String": "\n"}
        for step in steps[:-1]
    )
    last = steps[-1]
    expected = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True}
    return lines and all(last.get(key) == value for key, value in expected.items())
