"""The interactive loop of an encoder: a text in, its masks filled or its class out."""

from __future__ import annotations

from foundation.errors import UserError
from generation.encoder.abilities import FILL
from generation.encoder.show import classification_text, masks_text
from generation.encoder.text import TextEncoder
from generation.terminal.screen import show
from generation.terminal.typed import Read, Write, typed_texts
from tokenization.masked_text import USUAL_MASK


def ask(encoder: TextEncoder, top_k: int, read: Read = input, write: Write = show) -> None:
    """Answer texts from `read` until exit, quit, q, end of input or Ctrl-C: a classifier's class, else `top_k` answers
    for each mask."""
    if not encoder.labels:
        encoder.require(FILL)
    what = "to classify" if encoder.labels else f"with {USUAL_MASK} where a word is missing"
    write(f"Type a text {what}; exit, quit or q leaves.\n")
    for text in typed_texts(read, write):
        try:
            write(_answer(encoder, top_k, text) + "\n")
        except UserError as error:
            write(f"{error}\n")


def _answer(encoder: TextEncoder, top_k: int, line: str) -> str:
    if encoder.labels:
        return classification_text(encoder.classify([line])[0])
    return masks_text(encoder.fill_mask(line, top_k)) or f"There is no {USUAL_MASK} in it."
