from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from generation.config import GenerationConfig


def test_the_names_scripts_rely_on() -> None:
    config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_k=11,
        top_p=0.9,
        max_new_tokens=13,
        repetition_penalty=1.1,
        no_repeat_ngram_size=3,
        use_cache=False,
    )
    assert not config.greedy and config.seed is None


@pytest.mark.parametrize("values", [{"do_sample": False}, {"temperature": 0.0}])
def test_two_ways_to_be_greedy(values: dict[str, Any]) -> None:
    assert GenerationConfig(**values).greedy


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_new_tokens": 0},
        {"repetition_penalty": 0.0},
        {"no_repeat_ngram_size": -1},
        {"seed": -1},
        {"top_q": 1},
    ],
)
def test_impossible_values_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        GenerationConfig(**values)
