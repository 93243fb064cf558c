"""From the engine's tokens to text: whole characters only, up to a stop string, with log-probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from generation.engine.request import Finish, Request, Token
from generation.stops import StopStrings
from tokenization.stream import StreamDecoder
from tokenization.token_text import TokenTexts
from tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability under the model, before penalties and temperature."""

    id: int
    text: str
    """As in the middle of a text; U+FFFD stands for a part of a character."""
    bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens in its place, likeliest first."""


@dataclass(frozen=True)
class Piece:
    """A part of a text. A later one is added with +."""

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens that begin in this part, where the configuration asks for them."""
    finish_reason: Finish | None = None
    """Why the text ends here: "stop" at a stop token or string, "length" where it may not grow."""

    def __add__(self, later: Piece) -> Piece:
        return Piece(self.text + later.text, self.logprobs + later.logprobs, later.finish_reason or self.finish_reason)

    def __bool__(self) -> bool:
        return bool(self.text or self.logprobs or self.finish_reason)


@dataclass(frozen=True)
class Completion:
    """A text that was written after a prompt."""

    text: str
    finish_reason: Finish
    prompt_tokens: int
    completion_tokens: int
    """Tokens the model wrote, those of a stop string among them; the stop token is none."""
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Of the tokens that begin in `text`; None where the configuration does not ask for them."""


class Writer:
    """Makes text of one request's tokens."""

    def __init__(self, tokenizer: Tokenizer, texts: TokenTexts, request: Request) -> None:
        self._decoder = StreamDecoder(tokenizer, request.prompt)
        self._texts = texts
        self._stops = StopStrings(request.config.stop)
        self._request = request
        self._read = self._shown = 0  # characters
        self._pending: list[tuple[int, TokenLogprob]] = []  # where the token begins
        self._ended = False
        self.completion_tokens = 0

    def push(self, token: Token) -> Piece:
        """What `token` adds. A finish reason says that the text has ended: at a stop string before the engine knows."""
        assert not self._ended, "the text has ended"
        text = ""
        if token.token is not None:
            self.completion_tokens += 1
            if token.logprob is not None:
                self._pending.append((self._read, self._told(token.token, token.logprob, token.top_logprobs)))
            text = self._decoder.push(token.token)
        if token.finish is not None:
            text += self._decoder.finish()
        self._read += len(text)
        shown = self._stops.push(text)
        finish: Finish | None = "stop" if self._stops.stopped else token.finish
        if token.finish is not None:
            shown += self._stops.finish()
        self._shown += len(shown)
        self._ended = finish is not None
        return Piece(shown, self._release(), finish)

    def whole(self, pieces: Iterable[Piece]) -> Completion:
        """The text of all pieces, of which the last one says why it ended."""
        piece = sum(pieces, Piece())
        assert piece.finish_reason is not None, "the text has not ended"
        logprobs = None if self._request.config.logprobs is None else piece.logprobs
        prompt_tokens = len(self._request.prompt)
        return Completion(piece.text, piece.finish_reason, prompt_tokens, self.completion_tokens, logprobs)

    def _release(self) -> tuple[TokenLogprob, ...]:
        """The tokens that begin in the text shown; at an end that no stop string made, also those without text."""
        everything = self._ended and not self._stops.stopped
        ready = [entry for start, entry in self._pending if everything or start < self._shown]
        del self._pending[: len(ready)]  # they begin one after the other
        return tuple(ready)

    def _told(self, token: int, logprob: float, top: tuple[tuple[int, float], ...]) -> TokenLogprob:
        others = tuple(TokenLogprob(other, *self._texts(other), value) for other, value in top)
        return TokenLogprob(token, *self._texts(token), logprob, others)
