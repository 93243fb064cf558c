"""Which documents are rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from foundation.quantities import Count
from pipeline.filters.custom import source_fingerprint
from pipeline.settings.base import Settings

Share = Annotated[float, Field(ge=0, le=1)]
_RANGES = (
    ("min_chars", "max_chars"),
    ("min_words", "max_words"),
    ("min_tokens", "max_tokens"),
    ("min_cjk", "max_cjk"),
    ("gopher_min_words", "gopher_max_words"),
    ("gopher_min_word_length", "gopher_max_word_length"),
)


class FilterSettings(Settings):
    """Filters and their thresholds. What a file or a function says is part of the settings, its place is not."""

    NEUTRAL = frozenset({"blocklist_file"})

    min_chars: int = Field(1, ge=1, description="reject shorter documents, in characters after cleaning")
    max_chars: Count | None = Field(None, ge=1, description="reject longer documents, in characters; null for no limit")
    max_symbols: float | None = Field(
        0.7, ge=0, le=1, description="reject documents with a larger share of symbols among the visible characters"
    )
    max_digits: float | None = Field(
        0.7, ge=0, le=1, description="reject documents with a larger share of digits among the visible characters"
    )
    min_letters: float | None = Field(
        0.2, ge=0, le=1, description="reject documents with a smaller share of letters (of any script)"
    )
    min_cjk: float | None = Field(
        None, ge=0, le=1, description="reject documents with a smaller share of Han, kana and bopomofo characters"
    )
    max_cjk: float | None = Field(None, ge=0, le=1, description="reject documents with a larger share of them")
    max_repeated_lines: float | None = Field(
        0.5, ge=0, le=1, description="reject documents with a larger share of bytes in repeated lines"
    )
    max_repeated_ngrams: float | None = Field(
        0.5, ge=0, le=1, description="reject documents with a larger share of repeated passages (n-grams of 32 bytes)"
    )

    min_words: Count | None = Field(
        None, ge=1, description="reject documents of fewer words (a CJK character is a word; punctuation is none)"
    )
    max_words: Count | None = Field(None, ge=1, description="reject documents of more words; null for no limit")
    min_tokens: Count | None = Field(None, ge=1, description="reject documents of fewer tokens, without the terminator")
    max_tokens: Count | None = Field(None, ge=1, description="reject documents of more tokens; null for no limit")
    blocklist: list[str] = Field(
        [], description="words and phrases no document may have; whole words, but for scripts without spaces"
    )
    blocklist_file: Path | None = Field(None, description="more of them, one a line, in UTF-8")
    languages: list[str] = Field(
        [], description="keep only documents in these languages (codes like en, zh); needs the extra langid"
    )
    min_language_probability: float = Field(0.5, ge=0, le=1, description="reject where the language is less certain")
    custom_filter: str | None = Field(
        None, description="your own filter, package.module:function; gets a str, returns True, False, None or a reason"
    )
    custom_filter_source: str | None = Field(
        None, description="SHA-256 of the source of custom_filter; null takes it as it is"
    )
    gopher_repetition: bool = Field(False, description="apply the repetition rules of Gopher (Rae et al. 2021)")
    gopher_max_repeated_lines: float = Field(0.3, ge=0, le=1, description="largest share of repeated lines")
    gopher_max_repeated_paragraphs: float = Field(0.3, ge=0, le=1, description="largest share of repeated paragraphs")
    gopher_max_repeated_line_characters: float = Field(
        0.2, ge=0, le=1, description="largest share of characters in repeated lines"
    )
    gopher_max_repeated_paragraph_characters: float = Field(
        0.2, ge=0, le=1, description="largest share of characters in repeated paragraphs"
    )
    gopher_max_top_ngrams: list[Share] = Field(
        [0.2, 0.18, 0.16], description="largest shares of characters in the most frequent n-gram, for n = 2, 3, 4, …"
    )
    gopher_max_repeated_ngrams: list[Share] = Field(
        [0.15, 0.14, 0.13, 0.12, 0.11, 0.1],
        description="largest shares of characters in repeated n-grams, for n = 5, 6, …, 10",
    )
    gopher_quality: bool = Field(False, description="apply the quality rules of Gopher (Rae et al. 2021)")
    gopher_min_words: Count = Field(50, ge=0, description="fewest words of a document")
    gopher_max_words: Count = Field(100_000, ge=1, description="most words of a document")
    gopher_min_word_length: float = Field(3, ge=0, description="shortest mean word, in characters")
    gopher_max_word_length: float = Field(10, ge=0, description="longest mean word, in characters")
    gopher_max_symbol_ratio: float = Field(0.1, ge=0, description="most hash signs, or ellipses, a word")
    gopher_max_bullet_lines: float = Field(
        0.9, ge=0, le=1, description="largest share of lines that start with a bullet"
    )
    gopher_max_ellipsis_lines: float = Field(
        0.3, ge=0, le=1, description="largest share of lines that end with an ellipsis"
    )
    gopher_min_alphabetic_words: float = Field(
        0.8,
        ge=0,
        le=1,
        description="smallest share of words with a letter; not for text that is mostly CJK",
    )
    gopher_min_stop_words: int = Field(
        2, ge=0, le=8, description="fewest of the, be, to, of, and, that, have, with; not for text that is mostly CJK"
    )
    c4: bool = Field(False, description="apply the rules of C4 (Raffel et al. 2020), which remove lines")
    c4_line_punctuation: bool = Field(True, description="remove lines that do not end in . ? ! or a quotation mark")
    c4_citations: bool = Field(True, description="remove marks of citations: [1], [edit], [citation needed]")
    c4_min_sentences: int = Field(5, ge=0, description="fewest sentences of the lines that stay")
    c4_min_line_words: int = Field(3, ge=0, description="fewest words of a line that stays")
    c4_max_word_length: int = Field(1000, ge=1, description="longest word of a line that stays, in characters")
    c4_lorem_ipsum: bool = Field(True, description="reject documents with lorem ipsum")
    c4_javascript: bool = Field(True, description="remove lines that mention JavaScript")
    c4_curly_bracket: bool = Field(True, description="reject documents with a curly bracket")
    c4_policy: bool = Field(True, description="remove lines that mention terms of use, cookies or a privacy policy")
    fineweb: bool = Field(False, description="apply the rules of FineWeb (Penedo et al. 2024)")
    fineweb_min_punctuated_lines: float = Field(
        0.12, ge=0, le=1, description="smallest share of lines that end in punctuation"
    )
    fineweb_max_short_lines: float = Field(0.67, ge=0, le=1, description="largest share of short lines")
    fineweb_short_line: int = Field(30, ge=0, description="longest short line, in characters; CJK ones count as three")
    fineweb_max_repeated_characters: float = Field(
        0.01, ge=0, le=1, description="largest share of characters in repeated lines"
    )
    fineweb_max_line_ends: float = Field(0.3, ge=0, description="most line ends a word")

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: Any) -> Any:
        """Take the words of `blocklist_file` into `blocklist`, and the fingerprint of the custom filter's source."""
        if not isinstance(values, dict):
            return values
        if values.get("blocklist_file") is not None:
            given = values.get("blocklist") or []
            words = [given] if isinstance(given, str) else list(given)
            values = {**values, "blocklist": sorted({*words, *_lines(Path(values["blocklist_file"]))})}
        if isinstance(values.get("custom_filter"), str):
            found, told = source_fingerprint(values["custom_filter"]), values.get("custom_filter_source")
            if told is not None and told != found:
                raise ValueError(f"{values['custom_filter']} has another source than the one of custom_filter_source")
            values = {**values, "custom_filter_source": found}
        return values

    @model_validator(mode="after")
    def _ranges(self) -> FilterSettings:
        for low, high in _RANGES:
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and most < least:
                raise ValueError(f"{high} {most} is below {low} {least}")
        return self


def _lines(path: Path) -> set[str]:
    """The lines of a text file that are not empty."""
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()} - {""}
    except OSError as error:
        raise ValueError(f"blocklist_file: cannot read {path} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"blocklist_file: {path} is not UTF-8 text") from None
