"""The way to the engine and back, with events that meet between two steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from generation.config import GenerationConfig
from generation.engine import Engine, Request, Token
from generation.serving.engine_thread import Answer, EngineThread
from generation.serving.errors import ApiError
from generation.text import TextGenerator

GREEDY = GenerationConfig(max_new_tokens=5, temperature=0)


def ask(thread: EngineThread, generator: TextGenerator, *prompts: list[int]) -> Answer:
    requests = [Request(prompt, GREEDY) for prompt in prompts]
    return thread.submit([(request, generator.writer(request)) for request in requests])


async def rest(answer: Answer) -> str:
    """The one text of an answer."""
    text = ""
    while answer.left:
        text += (await asyncio.wait_for(answer.next(), 30))[1].text
    return text


def test_leaving_an_engine_that_failed_ends_no_text_of_the_next_one(
    make_generator: Callable[..., TextGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both engines call their first text 0. A second client comes while the first engine's last step runs, and the
    first client goes."""
    generator = make_generator(endless=True)
    written = [token.token for token in generator.engine.stream([Request([9, 8], GREEDY)])]
    alone = generator.tokenizer.decode([token for token in written if token is not None])
    in_step, gate, step = threading.Event(), threading.Event(), Engine.step

    def failing(engine: Engine) -> list[Token]:
        if gate.is_set() or engine.idle:
            return step(engine)
        in_step.set()
        assert gate.wait(30)
        raise RuntimeError("out of memory")

    async def meet() -> str:
        thread = EngineThread(generator.make_engine, 4, 10)
        thread.start()
        first = ask(thread, generator, [7])
        await asyncio.to_thread(in_step.wait, 30)
        second = ask(thread, generator, [9, 8])
        first.close()
        gate.set()
        try:
            return await rest(second)
        finally:
            thread.stop()

    monkeypatch.setattr(Engine, "step", failing)
    assert asyncio.run(meet()) == alone != ""


def test_what_the_engine_refuses_ends_nobody_elses_text(make_generator: Callable[..., TextGenerator]) -> None:
    """A template may render to no token at all. Texts of the same request leave the engine, those of others go on."""
    generator = make_generator(endless=True)
    engines: list[Engine] = []

    def make_engine() -> Engine:
        engines.append(generator.make_engine())
        return engines[-1]

    async def meet() -> None:
        thread = EngineThread(make_engine, 4, 10)
        thread.start()
        good, refused = ask(thread, generator, [7]), ask(thread, generator, [9, 8], [])
        with pytest.raises(ApiError, match="the prompt holds no token") as error:
            await asyncio.wait_for(refused.next(), 30)
        assert error.value.status == 400
        assert len(await rest(good)) > 0 == thread.open
        thread.stop()

    asyncio.run(meet())
    assert len(engines) == 1 and engines[0].idle
