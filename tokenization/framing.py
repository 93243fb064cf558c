"""How `transformers` is told to frame texts as our encoders read them: `[CLS] text [SEP]`, `[CLS] a [SEP] b [SEP]`."""

from __future__ import annotations

import json
from typing import Any

from tokenization.files import TOKENIZER_JSON
from tokenization.tokenizer import Tokenizer


def framed(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer to save beside an encoder. Encoding by ourselves never asks for the frame and gives the same ids.

    The same tokenizer where it frames texts already, or has no tokens for it.
    """
    roles, definition = tokenizer.roles, tokenizer.json()
    # A byte-level tokenizer may have a step there that adds no tokens.
    idle = (definition.get("post_processor") or {}).get("type", "ByteLevel") == "ByteLevel"
    if not idle or roles.cls is None or roles.sep is None:
        return tokenizer
    definition["post_processor"] = _template(tokenizer, roles.cls, roles.sep)
    data = (json.dumps(definition, ensure_ascii=False, indent=2) + "\n").encode()
    return Tokenizer.from_files({**tokenizer.files(), TOKENIZER_JSON: data}, tokenizer.where)


def _template(tokenizer: Tokenizer, cls: int, sep: int) -> dict[str, Any]:
    """What the `tokenizers` library writes for its TemplateProcessing."""
    names = {number: tokenizer.id_to_token(number) or "" for number in (cls, sep)}

    def special(number: int, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": names[number], "type_id": kind}}

    def text(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [special(cls, 0), text("A", 0), special(sep, 0)]
    known = {name: {"id": name, "ids": [number], "tokens": [name]} for number, name in names.items()}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), special(sep, 1)],
        "special_tokens": known,
    }
