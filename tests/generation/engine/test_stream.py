"""Streams of tokens: one text ends and the others go on, several streams share an engine, errors free the slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.engine import Engine, Request, Token
from model.decoder import Decoder

Make = Callable[..., Decoder]
PROMPTS = [[5, 17, 3], [5, 17, 3, 5, 17, 3, 5, 17], [77], [60, 61, 62]]
CONFIG = GenerationConfig(max_new_tokens=20, seed=3, repetition_penalty=0.5, prompt_lookup_num_tokens=4)


def _requests() -> list[Request]:
    return [Request(prompt, CONFIG, 3) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def texts(make_model: Make) -> list[list[int | None]]:
    found: list[list[int | None]] = [[] for _ in PROMPTS]
    for token in Engine(make_model(), compile=False).stream(_requests()):
        found[token.request].append(token.token)
    return found


def test_a_cancelled_text_gives_no_more_and_the_others_are_what_they_were(
    make_model: Make, texts: list[list[int | None]]
) -> None:
    engine = Engine(make_model(), compile=False)
    stream = engine.stream(_requests(), at_once=3)
    found: list[list[int | None]] = [[] for _ in PROMPTS]
    for token in stream:
        found[token.request].append(token.token)
        if len(found[1]) == 2 and token.request == 1:
            stream.cancel(1)
            stream.cancel(1)  # ended ones are ignored
            assert engine.running + engine.waiting == 2
    assert found == [texts[0], texts[1][:2], texts[2], texts[3]] and engine.idle


def test_closing_ends_all_and_the_engine_serves_others(make_model: Make, texts: list[list[int | None]]) -> None:
    engine = Engine(make_model(), compile=False)
    kept, left = engine.stream(_requests()), engine.stream(_requests())
    found = [[token.token for token in (next(kept), next(left))]]
    left.close()
    assert list(left) == []
    rest: list[list[int | None]] = [[] for _ in PROMPTS]
    rest[0].append(found[0][0])
    for token in kept:
        rest[token.request].append(token.token)
    assert rest == texts and engine.idle


def test_an_error_among_the_requests_frees_the_slots(make_model: Make) -> None:
    engine = Engine(make_model(), compile=False)

    def requests() -> Iterator[Request]:
        yield Request(PROMPTS[0], CONFIG, 3)
        yield Request([1] * 98, CONFIG, 3)

    stream: Iterator[Token] = engine.stream(requests())
    with pytest.raises(UserError, match="context of 97"):
        next(stream)
    assert engine.idle and list(stream) == []
