"""The engine's scheduler: prompts enter as slots get free, every running text gets a token a step, ended ones leave."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from foundation.errors import UserError
from generation.engine.choose import Quantization, runner_for
from generation.engine.lookup import Lookup
from generation.engine.quantized import Int8
from generation.engine.request import Finish, Request, Token
from generation.engine.runner import Part
from generation.engine.slots import Slots
from generation.engine.stream import TokenStream
from generation.engine.usage import Usage, bytes_of_token, bytes_of_weights
from generation.sampler import Choice, Sampler
from model.decoder import Decoder
from model.kv_cache import KVCache

SLOTS = 16
CHUNK, CHUNK_BESIDE_OTHERS = 512, 128  # tokens of prompts read in a step: texts in work should not wait long


@dataclass
class _Row:
    """A text in work."""

    number: int
    slot: int
    tokens: list[int]
    """Prompt and output; the cache may hold fewer."""
    left: int
    """Tokens it may still get."""
    stop: Collection[int]
    cached: bool
    lookup: Lookup | None
    guesses: list[int] = field(default_factory=list)
    """Tokens being read behind its own, in the hope that they are chosen."""


class Engine:
    """Continues prompts with `model`, at most `slots` at a time; others wait, first come, first served.

    Each text has its own options, chance and length, and is the one it would be alone. The keys and values of ended
    texts are kept while no other text needs their slot: a prompt that begins as one of them reads only the rest. Used
    by one thread at a time.

    With `compile`, the pass over the model is compiled where the machine can: on a CPU once for the processor, which
    takes seconds, on CUDA anew in each process. `quantization` int8 reads the matrices in eight bits; `model` itself
    stays as it is.
    """

    def __init__(
        self, model: Decoder, *, slots: int = SLOTS, quantization: Quantization = "none", compile: bool = True
    ) -> None:
        self.model = model
        self.usage = Usage()
        self._cache = KVCache(model.config, 1, 0, device=model.device, dtype=model.dtype)
        self._slots = Slots(self._cache, slots)
        quantized = Int8.of(model) if quantization == "int8" else None
        self._runner = runner_for(model, self._cache, quantized, compile)
        self._weights, self._token = bytes_of_weights(model, quantized), bytes_of_token(self._cache)
        self._sampler = Sampler(model.vocab_size, model.device)
        self._waiting: deque[tuple[int, Request]] = deque()
        self._rows: list[_Row] = []  # in work, in the order they came
        self._next = 0
        self._streams: dict[int, deque[Token]] = {}  # by number: where tokens of `stream`'s requests go
        self._out: deque[Token] = deque()  # all other tokens

    @property
    def slots(self) -> int:
        """Most texts in work at a time."""
        return self._slots.most

    @slots.setter
    def slots(self, most: int) -> None:
        assert most >= self._slots.most, "slots may hold texts"
        self._slots.most = most

    @property
    def idle(self) -> bool:
        """Whether nothing is in work and nothing waits."""
        return not (self._rows or self._waiting)

    @property
    def running(self) -> int:
        """Texts in work."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Texts that wait for a slot."""
        return len(self._waiting)

    def submit(self, request: Request) -> int:
        """Let a request wait for a slot; its number. `UserError` for a prompt that does not fit the context."""
        limit = self.model.config.max_position_embeddings
        if not request.prompt:
            raise UserError("the prompt holds no token; give at least one")
        if len(request.prompt) >= limit:
            raise UserError(
                f"the prompt has {len(request.prompt)} tokens, and the model's context of {limit} must also hold what "
                "follows; shorten the prompt"
            )
        number, self._next = self._next, self._next + 1
        self._waiting.append((number, request))
        return number

    def step(self) -> list[Token]:
        """Read a chunk of new prompts and one token of every text in work; the tokens that follow.

        One token a request, or several where guesses were right (`prompt_lookup_num_tokens`). Empty also while prompts
        are still being read: ask `idle` for the end.
        """
        if not self.idle:
            self._advance()
        out = list(self._out)
        self._out.clear()
        return out

    def cancel(self, number: int) -> None:
        """End a request's text now, without a last token, and free its slot. Unknown numbers are ignored."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != number)
        for row in self._rows:
            if row.number == number:
                self._leave(row)
                break

    def stream(self, requests: Iterable[Request], *, at_once: int | None = None) -> TokenStream:
        """An iterator over the tokens of requests that it submits, until all have ended; closing it cancels the rest.

        A token's `request` is here the place in `requests`, counted from 0. At most `at_once` of them are submitted
        at a time, so that `requests` may be an iterator over more than memory holds. Several streams may be read in
        turn.
        """
        return TokenStream(self, requests, at_once, self._streams, self._advance)

    @torch.inference_mode()
    def _advance(self) -> None:
        begun = time.perf_counter()
        while self._waiting and self._enter(*self._waiting[0]):
            self._waiting.popleft()
        parts, whole = self._plan()
        if parts:
            held = [self._cache.lengths[part.slot] + len(part.tokens) for part in parts]
            self._cache.reserve(1, max(held))
            logits = self._runner.read(parts)
            self.usage.passes += 1
            self.usage.bytes_read += self._weights + self._token * sum(held)
            self._choose(whole, logits)
        self.usage.seconds += time.perf_counter() - begun

    def _choose(self, rows: list[_Row], logits: Tensor) -> None:
        """Give each row its next token, and further ones as long as its guesses are what the sampler chooses.

        `logits` (M, V) follow, row by row, its last token and each of its guesses.
        """
        places, place = [], 0
        for row in rows:
            places.append(place)
            place += 1 + len(row.guesses)
        going, depth = list(zip(rows, places, strict=True)), 0
        while going:
            now = logits if len(going) == len(logits) else logits[[place + depth for _, place in going]]
            chosen = self._sampler.choose(now, [row.slot for row, _ in going])
            right = []
            for entry, choice in zip(going, chosen, strict=True):
                row = entry[0]
                ended = self._give(row, choice)
                if not ended and row.guesses[depth : depth + 1] == [choice.token]:
                    right.append(entry)
            going, depth = right, depth + 1
        for row in rows:  # wrong guesses are forgotten; for a row that is read again each time, all is
            if row in self._rows:
                self._forget(row)

    def _enter(self, number: int, request: Request) -> bool:
        """Find a slot for a request that waits; whether there is one."""
        slot = self._slots.take(request.prompt)
        if slot is None:
            return False
        tokens = list(request.prompt)
        left = min(request.config.max_new_tokens, self.model.config.max_position_embeddings - len(tokens))
        self._slots.note(slot, tokens if request.config.use_cache else [])
        self._sampler.add(slot, tokens, request.config, request.seed)
        guesses = request.config.prompt_lookup_num_tokens
        lookup = Lookup(tokens, guesses) if guesses else None
        self._rows.append(_Row(number, slot, tokens, left, request.stop, request.config.use_cache, lookup))
        return True

    def _plan(self) -> tuple[list[Part], list[_Row]]:
        """What to read in this step, and the rows that are whole after it."""
        parts: list[Part] = []
        whole: list[_Row] = []
        unread = {row.slot: len(row.tokens) - self._cache.lengths[row.slot] for row in self._rows}
        budget = CHUNK if all(count > 1 for count in unread.values()) else CHUNK_BESIDE_OTHERS
        for row in self._rows:
            count = unread[row.slot]
            if count > 1:
                count = min(count, budget)
                budget -= count
            if count:
                held = self._cache.lengths[row.slot]
                ready = held + count == len(row.tokens)
                row.guesses = row.lookup.guess()[: row.left - 1] if ready and row.lookup is not None else []
                wanted = 1 + len(row.guesses) if ready else 0
                parts.append(Part(row.slot, row.tokens[held : held + count] + row.guesses, wanted))
                whole += [row] if ready else []
        return parts, whole

    def _give(self, row: _Row, choice: Choice) -> bool:
        """Add a row's next token; whether it is the last one. Then the row leaves."""
        if choice.token in row.stop:
            token = Token(row.number, None, finish="stop")
        else:
            row.tokens.append(choice.token)
            row.left -= 1
            self.usage.tokens += 1
            finish: Finish | None = None if row.left else "length"
            token = Token(row.number, choice.token, choice.logprob, choice.top_logprobs, finish)
        self._streams.get(row.number, self._out).append(token)
        if token.finish is not None:
            self._leave(row)
        return token.finish is not None

    def _forget(self, row: _Row) -> None:
        """Cut the cache back to what is known to be the row's: all but its last token."""
        held = min(self._cache.lengths[row.slot], len(row.tokens) - 1)
        self._cache.lengths[row.slot] = held if row.cached else 0

    def _leave(self, row: _Row) -> None:
        self._forget(row)
        self._rows.remove(row)
        self._sampler.remove(row.slot)
        self._slots.give_back(row.slot)
