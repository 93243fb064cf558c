"""A crowd of clients, half of whom leave early: the others' texts are right, and nothing is left in work at the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from generation.config import GenerationConfig
from generation.engine import Engine
from generation.text import TextGenerator
from tests.generation.serving.conftest import running

USUAL = GenerationConfig(max_new_tokens=200, temperature=0)


@pytest.mark.slow
def test_a_crowd(make_generator: Callable[..., TextGenerator], monkeypatch: pytest.MonkeyPatch) -> None:
    """180 requests, 30 at a time over 4 slots, of many lengths, with stop strings, several texts, streamed or not."""
    generator, alone = (make_generator(slots=4, endless=True, max_position_embeddings=600) for _ in range(2))
    engines: list[Engine] = []
    make = generator.make_engine

    def remembered() -> Engine:
        engines.append(make())
        return engines[-1]

    monkeypatch.setattr(generator, "make_engine", remembered)
    asked: dict[int, dict[str, Any]] = {}

    def ask(number: int) -> list[str] | None:
        chance = random.Random(number)
        body = asked[number] = {
            "prompt": "the cat " * chance.randint(0, 9) + str(number % 7), "max_tokens": chance.randint(1, 250),
            "n": chance.randint(1, 3), "stream": chance.random() < 0.5, "temperature": chance.choice([0.0, 0.8]),
            "seed": number, "stop": chance.choice([[], ["a", "明"]]),
        }  # fmt: skip
        if number % 2:
            server.post_and_leave("/v1/completions", body, receive=chance.choice([1, 2000]) if body["stream"] else 0)
            return None
        status, _, answer = server.ask("POST", "/v1/completions", body | {"stream": False})
        assert status == 200
        return [choice["text"] for choice in answer["choices"]]

    with running(generator, USUAL, max_waiting=100) as server:
        with ThreadPoolExecutor(30) as pool:
            answers = dict(enumerate(pool.map(ask, range(180))))
        server.until(lambda: server.service.thread.open == 0 and engines[0].idle)
        assert len(engines) == 1
    for number, texts in answers.items():
        body = asked[number]
        config = USUAL.replace(
            max_new_tokens=body["max_tokens"], temperature=body["temperature"], seed=number, stop=tuple(body["stop"]),
            num_return_sequences=body["n"],
        )  # fmt: skip
        assert texts is None or texts == [completion.text for completion in alone.complete(body["prompt"], config)]
