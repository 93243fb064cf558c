"""The filters a configuration asks for, in order."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import PipelineConfig
from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.characters import CharacterFilter
from pipeline.filters.length import LengthFilter
from pipeline.filters.repetition import RepetitionFilter


def build_filters(config: PipelineConfig) -> list[Filter]:
    """The configured filters, the cheapest first; those that rewrite or ask a user's code come last."""
    character_limits = (config.max_symbols, config.max_digits, config.min_letters, config.min_cjk, config.max_cjk)
    repetition_limits = (config.max_repeated_lines, config.max_repeated_ngrams)
    filters: list[Filter] = [LengthFilter(config.min_chars, config.max_chars)]
    if any(limit is not None for limit in character_limits):
        filters.append(CharacterFilter(*character_limits))
    if any(limit is not None for limit in repetition_limits):
        filters.append(RepetitionFilter(*repetition_limits))
    return filters


class FilterChain:
    """All configured filters. The first that rejects a document drops it; later ones see it as rewritten."""

    def __init__(self, config: PipelineConfig) -> None:
        self._filters = build_filters(config)

    def judge(self, texts: list[bytes], fixed: Sequence[object] | None = None) -> Verdicts:
        """The reasons of the dropped and the final text of the rewritten ones. `fixed`: see `TextBatch`."""
        result = Verdicts()
        batch = TextBatch(texts, fixed)
        places: Sequence[int] = range(len(texts))
        for each in self._filters:
            if each.alone:
                batch, places = _left(batch, places, result)
            verdicts = each.judge(batch)
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
