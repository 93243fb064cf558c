"""The filters a configuration asks for, in order."""

from __future__ import annotations

from pipeline.config import PipelineConfig
from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.length import LengthFilter


class FilterChain:
    """All configured filters. The first that rejects a document drops it; later ones see it as rewritten."""

    def __init__(self, config: PipelineConfig) -> None:
        self._filters: list[Filter] = [LengthFilter(config.min_chars, config.max_chars)]

    def judge(self, texts: list[bytes]) -> Verdicts:
        """The reasons of the dropped and the final text of the rewritten ones."""
        result = Verdicts()
        batch, places = TextBatch(texts), list(range(len(texts)))
        for each in self._filters:
            verdicts = each.judge(batch)
            if not verdicts.dropped and not verdicts.rewritten:
                continue
            result.dropped |= {places[place]: reason for place, reason in verdicts.dropped.items()}
            result.rewritten |= {places[place]: text for place, text in verdicts.rewritten.items()}
            left = [place for place in range(len(batch)) if place not in verdicts.dropped]
            batch = TextBatch([verdicts.rewritten.get(place, batch.texts[place]) for place in left])
            places = [places[place] for place in left]
        for place in result.dropped:
            result.rewritten.pop(place, None)
        return result
