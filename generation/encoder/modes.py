"""What inference.py does with an encoder: one function for its modes, each prints its answer."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from generation.encoder.abilities import CLASSIFY, EMBED, FILL, Ability
from generation.encoder.files import classify_file, embed_file
from generation.encoder.show import classification_text, classified, masks_text, masks_values
from generation.encoder.text import TextEncoder
from tokenization.masked_text import USUAL_MASK


@dataclass(frozen=True)
class Request:
    """What the command line asks an encoder for: one of these, and how to answer."""

    fill_mask: str | None = None
    classify: str | None = None
    classify_file: Path | None = None
    similarity: tuple[str, ...] | None = None
    embed_file: Path | None = None
    output: Path | None = None
    as_json: bool = False
    top_k: int = 5

    def ability(self) -> Ability:
        """What the model must be able to do."""
        if self.fill_mask is not None:
            return FILL
        return CLASSIFY if self.classify is not None or self.classify_file is not None else EMBED

    def check(self) -> None:
        """`UserError` for what no model could answer."""
        if self.similarity is not None and len(self.similarity) != 2:
            raise UserError(f"--similarity: takes two texts, got {len(self.similarity)}; put each in quotation marks")
        if self.top_k < 1:
            raise UserError(f"--top_k {self.top_k}: give at least 1 to see what fills a mask")


def answer(encoder: TextEncoder, request: Request) -> int:
    """Do it and print it; the exit code. A file with unusable lines gives 1."""
    encoder.require(request.ability())
    if request.fill_mask is not None:
        masks = encoder.fill_mask(request.fill_mask, request.top_k)
        if not masks:
            raise UserError(f"--fill_mask: no {USUAL_MASK} in {request.fill_mask!r}; write it for a missing word")
        _print(request, masks_values(request.fill_mask, masks), masks_text(masks))
    elif request.classify is not None:
        found = encoder.classify([request.classify])[0]
        _print(request, {"text": request.classify, **classified(found)}, classification_text(found))
    elif request.similarity is not None:
        first, second = request.similarity
        value = encoder.similarity(first, second)
        _print(request, {"texts": [first, second], "similarity": value}, f"{value:.4f}")
    elif request.classify_file is not None:
        return _classify_file(encoder, request, request.classify_file)
    elif request.embed_file is not None:
        _embed_file(encoder, request, request.embed_file)
    return 0


def _classify_file(encoder: TextEncoder, request: Request, source: Path) -> int:
    begun = time.perf_counter()
    good, bad = classify_file(encoder, source, request.output, sys.stdout, request.as_json)
    _report(good, begun)
    if bad:
        print(f"error: {source}: unusable lines: {bad}; their rows say why", file=sys.stderr)
    return 1 if bad else 0


def _embed_file(encoder: TextEncoder, request: Request, source: Path) -> None:
    output = source.with_suffix(".npy") if request.output is None else request.output
    begun = time.perf_counter()
    texts, width = embed_file(encoder, source, output)
    values = {"output": str(output), "texts": texts, "width": width}
    _print(request, values, f"{output}: {texts} texts, {width} numbers each")
    _report(texts, begun)


def _report(texts: int, begun: float) -> None:
    seconds = time.perf_counter() - begun
    print(f"{texts} texts in {seconds:.1f} s: {texts / seconds:.1f} texts/s", file=sys.stderr)


def _print(request: Request, values: dict[str, Any], text: str) -> None:
    print(json.dumps(values, ensure_ascii=False) if request.as_json else text)
