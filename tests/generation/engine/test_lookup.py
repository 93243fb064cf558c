from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.config import GenerationConfig
from generation.engine import Engine, Request
from generation.engine.lookup import LONGEST, Lookup
from model.decoder import Decoder

Make = Callable[..., Decoder]
REPEATING = [5, 6, 7, 8, 9, 10] * 5
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampled": {"temperature": 0.3},
    "with memory": {"temperature": 1.2, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 40))
def test_guesses_are_what_followed_the_longest_run_last(tokens: list[int], count: int, begun: int) -> None:
    text = tokens[:begun]
    lookup = Lookup(text, count)
    for token in [*tokens[begun:], None]:
        guess = lookup.guess()
        expected: list[int] = []
        for size in range(min(LONGEST, len(text)), 0, -1):
            places = [n for n in range(size, len(text)) if text[n - size : n] == text[len(text) - size :]]
            if places:
                expected = text[places[-1] : places[-1] + count]
                break
        assert guess == expected
        if token is not None:
            text.append(token)


def _run(model: Decoder, guesses: int, compiled: bool, **options: Any) -> tuple[list[list[int]], int]:
    engine = Engine(model, compile=compiled)
    config = GenerationConfig(max_new_tokens=41, prompt_lookup_num_tokens=guesses, **options)
    texts: list[list[int]] = [[], [], []]
    for token in engine.stream([Request(prompt, config, 3, [9]) for prompt in (REPEATING, [1, 2], [4] * 20)]):
        texts[token.request] += [] if token.token is None else [token.token]
    return texts, engine.usage.passes


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("compiled", [True, False])
def test_texts_are_the_same_with_guesses(make_model: Make, options: str, compiled: bool) -> None:
    model = make_model(max_position_embeddings=67)  # one text ends at its context
    plain = _run(model, 0, compiled, **OPTIONS[options])
    for guesses in (1, 4, 50):
        assert _run(model, guesses, compiled, **OPTIONS[options])[0] == plain[0]


def test_right_guesses_save_passes(make_model: Make) -> None:
    """A model whose texts go round in circles."""
    model = make_model(initializer_range=0.05)
    plain, passes = _run(model, 0, True, do_sample=False)
    guessed, fewer = _run(model, 5, True, do_sample=False)
    assert guessed == plain and fewer < passes * 2 / 3
