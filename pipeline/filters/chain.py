"""The filters a configuration asks for, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from pipeline.config import PipelineConfig
from pipeline.filters.base import DocumentError, Filter, TextBatch, Verdicts
from pipeline.filters.blocklist import BlocklistFilter
from pipeline.filters.c4 import C4Filter, C4Limits
from pipeline.filters.characters import CharacterFilter
from pipeline.filters.custom import CustomFilter
from pipeline.filters.fineweb import FineWebFilter, FineWebLimits
from pipeline.filters.gopher_quality import GopherQualityFilter, GopherQualityLimits
from pipeline.filters.gopher_repetition import GopherRepetitionFilter, GopherRepetitionLimits
from pipeline.filters.language import LanguageFilter
from pipeline.filters.length import LengthFilter, WordCountFilter
from pipeline.filters.repetition import RepetitionFilter

Limits = TypeVar("Limits", GopherRepetitionLimits, GopherQualityLimits, C4Limits, FineWebLimits)


def build_filters(config: PipelineConfig) -> list[Filter]:
    """The configured filters, the cheapest first; those that rewrite or ask a user's code come last."""
    filters: list[Filter] = [LengthFilter(config.min_chars, config.max_chars)]
    character_limits = (config.max_symbols, config.max_digits, config.min_letters, config.min_cjk, config.max_cjk)
    if any(limit is not None for limit in character_limits):
        filters.append(CharacterFilter(*character_limits))
    repetition_limits = (config.max_repeated_lines, config.max_repeated_ngrams)
    if any(limit is not None for limit in repetition_limits):
        filters.append(RepetitionFilter(*repetition_limits))
    if config.min_words is not None or config.max_words is not None:
        filters.append(WordCountFilter(config.min_words, config.max_words))
    if config.blocklist:
        filters.append(BlocklistFilter(config.blocklist))
    if config.gopher_repetition:
        filters.append(GopherRepetitionFilter(limits_of(config, GopherRepetitionLimits, "gopher_")))
    if config.gopher_quality:
        filters.append(GopherQualityFilter(limits_of(config, GopherQualityLimits, "gopher_")))
    if config.c4:
        filters.append(C4Filter(limits_of(config, C4Limits, "c4_")))
    if config.fineweb:
        filters.append(FineWebFilter(limits_of(config, FineWebLimits, "fineweb_")))
    if config.languages:
        filters.append(LanguageFilter(config.languages, config.min_language_probability))
    if config.custom_filter is not None:
        filters.append(CustomFilter(config.custom_filter))
    return filters


def limits_of(config: PipelineConfig, kind: type[Limits], prefix: str) -> Limits:
    """The thresholds of a set of rules: its fields have the names that its settings have behind `prefix`."""
    return kind(**{field.name: getattr(config, prefix + field.name) for field in fields(kind)})


class FilterChain:
    """All configured filters. The first that rejects a document drops it; later ones see it as rewritten."""

    def __init__(self, config: PipelineConfig, work: Path | None = None) -> None:
        """`work`: the work area, which has the evaluation set's n-grams; without it nothing is decontaminated."""
        self._filters = build_filters(config)
        if work is not None and config.decontaminate:
            from pipeline.dedup.decontaminate import contamination_filter

            self._filters.append(contamination_filter(config, work))

    def judge(self, texts: list[bytes], fixed: Sequence[object] | None = None, joined: bytes | None = None) -> Verdicts:
        """The reasons of the dropped and the final text of the rewritten ones. `fixed`, `joined`: see `TextBatch`.

        Raises `DocumentError` with the place of a document that a user's function fails on.
        """
        result = Verdicts()
        batch = TextBatch(texts, fixed, joined)
        places: Sequence[int] = range(len(texts))
        for each in self._filters:
            if each.alone:
                batch, places = _left(batch, places, result)
            try:
                verdicts = each.judge(batch)
            except DocumentError as error:
                raise DocumentError(places[error.place], str(error)) from error
            for place, reason in verdicts.dropped.items():
                result.dropped.setdefault(places[place], reason)
            if verdicts.rewritten:
                result.rewritten |= {places[place]: text for place, text in verdicts.rewritten.items()}
                batch, places = _left(batch, places, result)
        for place in result.dropped:
            result.rewritten.pop(place, None)
        return result


def _left(batch: TextBatch, places: Sequence[int], result: Verdicts) -> tuple[TextBatch, Sequence[int]]:
    """The documents that are not dropped, as they are now, and their places in the first batch. Until then, dropped
    documents stay in the batch: judging them in vain costs less than computing its features again."""
    kept = [at for at, place in enumerate(places) if place not in result.dropped]
    if len(kept) == len(batch) and not result.rewritten:
        return batch, places
    texts = [result.rewritten.get(places[at], batch.texts[at]) for at in kept]
    return TextBatch(texts, [batch.fixed[at] for at in kept]), [places[at] for at in kept]
