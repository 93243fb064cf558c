"""Prompts through one engine, texts out: as they end, or piece by piece; the next prompt is taken when a text ends."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from foundation.errors import UserError
from generation.completion import Completion, Piece, Writer
from generation.engine import Engine, Request

P = TypeVar("P")
Write = Callable[[Iterator[Request]], Iterator[tuple[int, Piece, Writer]]]
"""Takes requests and gives their pieces: the request's number, counted from 0, a piece and what made it."""


def complete_each(
    prompts: Iterable[P], requests_of: Callable[[P], list[Request]], write: Write
) -> Iterator[tuple[int, list[Completion] | UserError]]:
    """The place of each prompt with the texts of all its requests, or with the error that `requests_of` raised."""
    failed: deque[tuple[int, UserError]] = deque()
    rows: dict[int, tuple[int, int]] = {}  # by the request's number: the prompt, and which of its texts
    texts: dict[int, list[Completion | None]] = {}
    parts: dict[int, list[Piece]] = {}

    def requests() -> Iterator[Request]:
        numbers = itertools.count()
        for place, prompt in enumerate(prompts):
            try:
                made = requests_of(prompt)
            except UserError as error:
                failed.append((place, error))
                continue
            texts[place] = [None] * len(made)
            for which, request in enumerate(made):
                rows[next(numbers)] = place, which
                yield request

    for number, piece, writer in write(requests()):
        while failed:
            yield failed.popleft()
        if piece:
            parts.setdefault(number, []).append(piece)
        if piece.finish_reason is not None:
            place, which = rows.pop(number)
            texts[place][which] = writer.whole(parts.pop(number))
            whole = [text for text in texts[place] if text is not None]
            if len(whole) == len(texts[place]):
                del texts[place]
                yield place, whole
    yield from failed


def write(
    engine: Engine, requests: Iterable[Request], writer_of: Callable[[Request], Writer], at_once: int
) -> Iterator[tuple[int, Piece, Writer]]:
    """The pieces of each request's text, as they come: its place in `requests`, the piece and what made it.

    A text that has come to a stop string leaves the engine. Closing the iterator ends all texts.
    """
    writers: dict[int, Writer] = {}

    def taken() -> Iterator[Request]:
        for place, request in enumerate(requests):
            writers[place] = writer_of(request)
            yield request

    stream = engine.stream(taken(), at_once=at_once)
    try:
        for token in stream:
            writer = writers[token.request]
            piece = writer.push(token)
            if piece.finish_reason is not None:
                del writers[token.request]
                if token.finish is None:  # the engine would go on
                    stream.cancel(token.request)
            yield token.request, piece, writer
    finally:
        stream.close()


def deliver(pieces: Iterator[str], stream: bool, callback: Callable[[str], object] | None) -> str | Iterator[str]:
    """The pieces themselves where they are to be streamed, else the text of all, each handed to `callback` first."""
    if stream and callback is None:
        return pieces
    texts = []
    for piece in pieces:
        if callback is not None:
            callback(piece)
        texts.append(piece)
    return "".join(texts)
