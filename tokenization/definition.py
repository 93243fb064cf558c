"""`tokenizer.json` as its readers need it: with the kind that older files leave out, and with special tokens that no
text spells."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any


def with_kind(data: bytes, kind: str) -> bytes:
    """The definition with its model's kind ("BPE", "Unigram", …), which older files leave to their readers to guess."""
    definition: dict[str, Any] = json.loads(data)
    if definition["model"].get("type"):
        return data
    definition["model"] = {"type": kind, **definition["model"]}
    return json.dumps(definition, ensure_ascii=False).encode()


def unspelt(data: bytes, special: Collection[str]) -> bytes:
    """The definition for encoding text alone: the special tokens in `special` have other names in the model.

    Models that look whole words or pieces up (Unigram, WordLevel, WordPiece) find a special token that stands in their
    vocabulary by themselves: the `</s>` of T5 and XLM-R, of score 0, is the likeliest piece wherever text spells it.
    The names are a number between noncharacters of Unicode. Other tokens and all ids stay.
    """
    definition: dict[str, Any] = json.loads(data)
    model = definition["model"]
    names = {name: f"\ufdd0{place}\ufdd1" for place, name in enumerate(special) if name != model.get("unk_token")}
    if model["type"] == "Unigram":
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {names.get(word, word): number for word, number in model["vocab"].items()}
    definition["added_tokens"] = [token for token in definition["added_tokens"] if token["content"] not in names]
    definition["post_processor"] = None  # may name them
    return json.dumps(definition, ensure_ascii=False).encode()
