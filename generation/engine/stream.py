"""The tokens of several requests, as the engine gives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from generation.engine.request import Request, Token


class Texts(Protocol):
    """What the engine is here: it takes requests, and may be told to end them."""

    def submit(self, request: Request) -> int: ...

    def cancel(self, number: int) -> None: ...


class TokenStream(Iterator[Token]):
    """Submits requests and steps the engine until all have ended.

    A token's `request` is here the place in `requests`, counted from 0. `routes` tells the engine, by number, where a
    request's tokens go; `advance` is its step.
    """

    def __init__(
        self,
        engine: Texts,
        requests: Iterable[Request],
        at_once: int | None,
        routes: dict[int, deque[Token]],
        advance: Callable[[], None],
    ) -> None:
        self._engine, self._at_once, self._routes, self._advance = engine, at_once, routes, advance
        self._upcoming = enumerate(requests)
        self._tokens: deque[Token] = deque()
        self._places: dict[int, int] = {}  # by number, of requests that have not ended

    def __next__(self) -> Token:
        try:
            self._submit()
            while self._places and not self._tokens:
                self._advance()
        except BaseException:
            self.close()
            raise
        if not self._tokens:
            raise StopIteration
        token = self._tokens.popleft()
        place = self._places[token.request]
        if token.finish is not None:
            self._forget(token.request)
        return Token(place, token.token, token.logprob, token.top_logprobs, token.finish)

    def cancel(self, place: int) -> None:
        """End one request's text now: no more tokens of it, and its slot is free. Ended ones are ignored."""
        for number in [number for number, other in self._places.items() if other == place]:
            self._forget(number)
            self._engine.cancel(number)
            kept = [token for token in self._tokens if token.request != number]
            self._tokens.clear()
            self._tokens += kept

    def close(self) -> None:
        """End all texts; nothing more comes."""
        self._upcoming = enumerate(())
        for place in [*self._places.values()]:
            self.cancel(place)

    def _submit(self) -> None:
        while self._at_once is None or len(self._places) < self._at_once:
            entry = next(self._upcoming, None)
            if entry is None:
                return
            number = self._engine.submit(entry[1])
            self._places[number], self._routes[number] = entry[0], self._tokens

    def _forget(self, number: int) -> None:
        del self._places[number], self._routes[number]
