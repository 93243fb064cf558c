"""Audit of a fast engine: a probe set at the start, then the documents that a hash of their content selects.

Which documents are compared depends on nothing but their content, so that a wrong engine is found, or not, the same
way for any number of workers and any order of completion.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from foundation.streams import generator
from tokenization.engines.base import Engine
from tokenization.engines.reference import ReferenceEngine
from tokenization.tokenizer import Tokenizer

SELECT_ONE_IN = 1024
RANDOM_PROBES = 256
LONGEST_AUDITED = 256 * 1024
"""Longer documents, in bytes, are not compared: the reference would take some 200 times as much memory."""

_PROBES = (
    "", " ", "  ", "\n", "\n\n \n", "\t", "a", " a", "a ", "Hello, world!",
    "it's WE'LL they'd I'M don't", "x1y22z333", "1234567890 3.14159 1,000,000",
    "<|endoftext|>", "a<|endoftext|>b <|im_start|>user\n<|im_end|>", "[MASK] [CLS] </s>",
    "def f(x):\n    return x  # comment\n\n\n", "ünïcödé éàü ß ﬁ", "e\u0301 a\u0308",
    "日本語のテキスト。中文，标点！", "한국어 텍스트", "العربية עברית",
    "😀😃👨‍👩‍👧‍👦🇩🇪", "\u200b\u200d\ufeff", "\u00a0\u3000\u2028\u2029", "a\u0000b", "…—–“”‘’", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠀀𠀁",
    "https://example.org/?q=a%20b&c=d#e", "A" * 32, "=" * 77, " " * 61 + "x", "\r\n\r\n", "ǅ ǈ ⅷ ½ ²",
)  # fmt: skip


def probes() -> list[bytes]:
    """The probe set: hand-picked hard cases and seeded random Unicode strings, as UTF-8."""
    random = generator(0, "tokenizer-audit")
    ranges = ((32, 127), (9, 14), (0xA0, 0x250), (0x300, 0x600), (0x2000, 0x2100), (0x4E00, 0x5000), (0x1F600, 0x1F650))
    texts = [text.encode() for text in _PROBES]
    for _ in range(RANDOM_PROBES):
        picks = random.integers(0, len(ranges), random.integers(1, 48))
        low, high = np.array(ranges)[picks].T
        texts.append("".join(map(chr, random.integers(low, high))).encode())
    return texts


def selected(content_hashes: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Places of the documents to compare, from their 16-byte content hashes (n,)."""
    words = np.ascontiguousarray(content_hashes).view("<u4").reshape(-1, 4)[:, 0]
    return np.flatnonzero(words % SELECT_ONE_IN == 0)


def first_mismatch(tokenizer: Tokenizer, texts: list[bytes], encoded: list[npt.NDArray[np.uint32]]) -> bytes | None:
    """The first of `texts` whose ids in `encoded` differ from the reference's, or None."""
    expected, borders = ReferenceEngine(tokenizer).encode_batch(texts)
    for place, ids in enumerate(encoded):
        if not np.array_equal(ids, expected[borders[place] : borders[place + 1]]):
            return texts[place]
    return texts[len(encoded)] if len(encoded) < len(texts) else None  # a text that got no answer


def probe_mismatch(tokenizer: Tokenizer, engine: Engine) -> bytes | None:
    """The first probe that `engine` encodes wrongly, or None."""
    texts = probes()
    ids, borders = engine.encode_batch(texts)
    return first_mismatch(tokenizer, texts, [ids[a:b] for a, b in itertools.pairwise(borders)])
