"""C4's rules (Raffel et al. 2020, Exploring the Limits of Transfer Learning, section 2.2), as datatrove 0.10 applies
them. Lines go that have no punctuation at their end, few words, an endless word, JavaScript or a policy notice;
documents go that have few sentences left, `lorem ipsum` or a curly bracket. Marks of citations are taken out.

For CJK text: 。！？ and the quotes behind them end a line too, each CJK character is a word and an end of a line's
endless word, and sentences end at TERMINAL punctuation (as for spaCy's sentencizer, which datatrove counts with).
Chat records pass unjudged, since they cannot be rewritten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.characters import CJK
from pipeline.filters.punctuation import TERMINAL, is_punctuation
from pipeline.filters.words import split_chunk

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_LINE_ENDS = (".", "?", "!", '"', "'", "。", "！", "？", "”", "’", "」", "』")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_CJK = re.compile(f"[{CJK}]")
_MAX_KNOWN = 200_000


@dataclass(frozen=True)
class C4Limits:
    """Thresholds and switches."""

    line_punctuation: bool
    citations: bool
    """Whether marks of citations are removed."""
    min_sentences: int
    min_line_words: int
    max_word_length: int
    lorem_ipsum: bool
    javascript: bool
    curly_bracket: bool
    policy: bool


class C4Filter(Filter):
    """Reasons: `c4_few_sentences`, `c4_lorem_ipsum`, `c4_curly_bracket`. Rewrites documents that lose lines."""

    alone = True

    def __init__(self, limits: C4Limits) -> None:
        self._limits = limits
        self._sentences = _Sentences()
        switches = {
            ("lorem ipsum",): limits.lorem_ipsum,
            ("javascript",): limits.javascript,
            ("{",): limits.curly_bracket,
            _POLICIES: limits.policy,
        }
        self._phrases = [phrase for phrases, asked in switches.items() if asked for phrase in phrases]

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        verdicts = Verdicts()
        for place, data in enumerate(batch.texts):
            if batch.fixed[place]:
                continue
            text = data.decode()
            reason, rewritten = self._judge(text)
            if reason is not None:
                verdicts.dropped[place] = reason
            elif rewritten != text:
                verdicts.rewritten[place] = rewritten.encode()
        return verdicts

    def _judge(self, text: str) -> tuple[str | None, str]:
        """The reason to drop `text`, or None, and what is left of it."""
        limits = self._limits
        lower = text.lower()
        suspicious = any(phrase in lower for phrase in self._phrases)
        sentences, kept = 0, []
        for line in text.splitlines():
            line = line.strip()
            words = line.split()
            if max(map(len, words), default=0) > limits.max_word_length and _endless(words, limits.max_word_length):
                continue
            if limits.citations and "[" in line:
                line = _CITATION.sub("", line)
            if limits.line_punctuation and (not line.endswith(_LINE_ENDS) or line.endswith("...")):
                continue
            if len(words) < limits.min_line_words and len(words) + len(_CJK.findall(line)) < limits.min_line_words:
                continue
            if suspicious:
                drop, skip = self._by_phrases(line)
                if drop is not None:
                    return drop, text
                if skip:
                    continue
            if sentences < limits.min_sentences:
                sentences += self._sentences.count(line, limits.min_sentences - sentences)
            kept.append(line)
        if sentences < limits.min_sentences:
            return "c4_few_sentences", text
        return None, "\n".join(kept).strip()

    def _by_phrases(self, line: str) -> tuple[str | None, bool]:
        """The reason a phrase in `line` gives to drop the document, and whether one drops the line."""
        limits, lower = self._limits, line.lower()
        if limits.lorem_ipsum and "lorem ipsum" in lower:
            return "c4_lorem_ipsum", False
        if limits.javascript and "javascript" in lower:
            return None, True
        if limits.curly_bracket and "{" in line:
            return "c4_curly_bracket", False
        return None, limits.policy and any(policy in lower for policy in _POLICIES)


def _endless(words: list[str], most: int) -> bool:
    """Whether any of `words` is longer than `most` between CJK characters."""
    return any(len(piece) > most for word in words if len(word) > most for piece in _CJK.split(word))


class _Sentences(dict[str, tuple[int, bool, int]]):
    """Counts sentences by what each chunk between white space does to the count; what is known is kept.

    A sentence starts at the first word that is not punctuation after a word of TERMINAL punctuation. A chunk's entry:
    the starts within it; whether one more starts in it when a sentence has ended before it; and whether a sentence
    has ended behind it (1 yes, 0 no, -1 as before).
    """

    def count(self, line: str, enough: int) -> int:
        """The sentences of `line` (an empty one has one, too), or more than `enough` minus one of them."""
        found, ended = 1, False
        for chunk in line.split():
            starts, opens, state = self[chunk]
            found += starts + (ended and opens)
            if found >= enough:
                return found
            if state >= 0:
                ended = state == 1
        return found

    def __missing__(self, chunk: str) -> tuple[int, bool, int]:
        starts, opens, ended, any_word, any_end = 0, False, False, False, False
        for word in split_chunk(chunk):
            if word in TERMINAL:
                ended = any_end = True
            elif word.isalnum() or not is_punctuation(word):
                starts += ended
                opens = opens or (not any_word and not any_end)
                ended, any_word = False, True
        entry = (starts, opens, int(ended) if any_word else 1 if any_end else -1)
        if len(self) >= _MAX_KNOWN:
            self.clear()
        if len(chunk) < 64:
            self[chunk] = entry
        return entry
