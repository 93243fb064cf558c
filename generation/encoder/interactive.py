"""The interactive loop of an encoder: a line in, its masks filled or its class out."""

from __future__ import annotations

from collections.abc import Callable

from foundation.errors import UserError
from generation.encoder.abilities import FILL
from generation.encoder.show import classification_text, masks_text
from generation.encoder.text import TextEncoder
from generation.interactive import typed_lines
from tokenization.masked_text import USUAL_MASK


def ask(
    encoder: TextEncoder,
    top_k: int,
    read: Callable[[str], str] = input,
    write: Callable[[str], object] = lambda text: print(text, end="", flush=True),
) -> None:
    """Answer lines from `read` until exit, quit, q, end of input or Ctrl-C: a classifier's class, else `top_k` answers
    for each mask."""
    if not encoder.labels:
        encoder.require(FILL)
    what = "to classify" if encoder.labels else f"with {USUAL_MASK} where a word is missing"
    write(f"Type a text {what}; exit, quit or q leaves.\n")
    for line in typed_lines(read, write):
        try:
            write(_answer(encoder, top_k, line) + "\n")
        except UserError as error:
            write(f"{error}\n")


def _answer(encoder: TextEncoder, top_k: int, line: str) -> str:
    if encoder.labels:
        return classification_text(encoder.classify([line])[0])
    return masks_text(encoder.fill_mask(line, top_k)) or f"There is no {USUAL_MASK} in it."
