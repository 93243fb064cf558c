"""What the server asks of a model: its name, requests made of texts, and answers written by the engine's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from generation.completion import Piece, Writer
from generation.config import GenerationConfig
from generation.engine import Request
from generation.prompts import TooLong
from generation.serving.answers import Form, Json, usage
from generation.serving.engine_thread import Answer, EngineThread
from generation.serving.errors import ApiError
from generation.serving.streams import BEAT, BEAT_SECONDS, DONE, event
from generation.text import TextGenerator

Prompt = str | list[dict[str, str]]
"""A text to continue, or a conversation."""


@dataclass(frozen=True)
class Work:
    """Texts to write, and what they cost before a token is written."""

    rows: Sequence[tuple[Request, Writer]]
    prompt_tokens: int


class Service:
    """One model behind one engine thread."""

    def __init__(self, generator: TextGenerator, usual: GenerationConfig, name: str, thread: EngineThread) -> None:
        self.generator, self.usual, self.name, self.thread = generator, usual, name, thread
        self.created = int(time.time())
        self.context = generator.model.config.max_position_embeddings

    def check_model(self, asked: str | None) -> None:
        """`ApiError` 404 for another model. A request need not name one: there is one."""
        if asked is not None and asked != self.name:
            raise ApiError(
                404, f"model {asked!r} is not served here; use {self.name!r}", param="model", code="model_not_found"
            )

    async def prepare(self, prompts: Sequence[Prompt], config: GenerationConfig, asked: int | None) -> Work:
        """Encode prompts beside the event loop. `asked` is the answer's length where the request names one."""
        texts = len(prompts) * config.num_return_sequences
        if texts > self.thread.most:
            raise ApiError(400, f"{texts} texts at once; this server takes at most {self.thread.most}", param="n")
        self.thread.check_room(texts)
        return await asyncio.to_thread(self._encode, prompts, config, asked)

    def _encode(self, prompts: Sequence[Prompt], config: GenerationConfig, asked: int | None) -> Work:
        rows: list[tuple[Request, Writer]] = []
        read = 0
        for prompt in prompts:
            try:
                requests = self.generator.requests(prompt, config, cut=False)
            except TooLong as error:
                raise too_long(error.prompt_tokens, asked, self.context) from None
            count = len(requests[0].prompt)
            if asked is not None and count + asked > self.context:
                raise too_long(count, asked, self.context)
            rows += [(request, self.generator.writer(request)) for request in requests]
            read += count
        return Work(rows, read)

    async def whole(self, work: Work, form: Form) -> Json:
        """All texts, when all have ended."""
        answer = self.thread.submit(work.rows)
        texts = [Piece()] * len(work.rows)
        try:
            while answer.left:
                place, piece = await answer.next()
                texts[place] = texts[place] + piece
        finally:
            answer.close()
        choices = [form.choice(place, text) for place, text in enumerate(texts)]
        return form.whole(choices, usage(work.prompt_tokens, _written(work)))

    def stream(self, work: Work, form: Form, with_usage: bool) -> AsyncGenerator[bytes]:
        """The events of a stream. The texts wait for their turn from now on; `ApiError` where there is no room."""
        return _events(self.thread.submit(work.rows), work, form, with_usage)


def too_long(prompt: int, asked: int | None, context: int) -> ApiError:
    """A prompt that leaves no room for its answer, or less than was asked for."""
    answer = f"{asked} for the answer" if asked else "at least one is needed for the answer"
    return ApiError(
        400,
        f"this model's context holds {context} tokens; the prompt has {prompt}, and {answer}; shorten it",
        param="messages",
        code="context_length_exceeded",
    )


def _written(work: Work) -> int:
    return sum(writer.completion_tokens for _, writer in work.rows)


async def _events(answer: Answer, work: Work, form: Form, with_usage: bool) -> AsyncGenerator[bytes]:
    usual: dict[str, Json | None] = {"usage": None} if with_usage else {}
    try:
        for place in range(len(work.rows)):
            if (opening := form.opening(place)) is not None:
                yield event(form.chunk([opening], **usual))
        while answer.left:
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    place, piece = await answer.next()
            except TimeoutError:
                yield BEAT
                continue
            if piece:
                yield event(form.chunk([form.piece(place, piece)], **usual))
        if with_usage:
            yield event(form.chunk([], usage=usage(work.prompt_tokens, _written(work))))
        yield DONE
    except ApiError as error:
        yield event(error.body())
    finally:
        answer.close()
