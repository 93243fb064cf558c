from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from foundation.config import load_config
from foundation.section import Section
from generation.config import GenerationConfig, GenerationSettings


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


@pytest.mark.parametrize("values", [{"do_sample": False}, {"temperature": 0.0}, {"temperature": 1e-8}])
def test_ways_to_be_greedy(values: dict[str, Any]) -> None:
    assert GenerationConfig(**values).greedy


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": 1e40},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_new_tokens": 0},
        {"repetition_penalty": 1e-40},
        {"repetition_penalty": 1e40},
        {"no_repeat_ngram_size": -1},
        {"seed": -1},
        {"min_p": 1.01},
        {"presence_penalty": float("inf")},
        {"frequency_penalty": -1e39},
        {"stop": ("a", "")},
        {"num_return_sequences": 0},
        {"logprobs": -1},
        {"preset": "funny"},
        {"top_q": 1},
    ],
)
def test_impossible_values_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        GenerationConfig(**values)


def test_a_preset_gives_way_to_what_is_given() -> None:
    config = GenerationConfig(preset="factual", top_k=7)
    assert (config.temperature, config.top_k, config.top_p) == (0.2, 7, 0.9)
    assert GenerationConfig(preset="creative").min_p > 0 == GenerationConfig().min_p


def test_replacing_options_checks_them() -> None:
    config = GenerationConfig(temperature=0.5, seed=3).replace(top_k="9", stop=["a"])
    assert (config.temperature, config.seed, config.top_k, config.stop) == (0.5, 3, 9, ("a",))
    chatty = config.replace(preset="chat", top_p=0.6)
    assert (chatty.temperature, chatty.top_k, chatty.top_p, chatty.seed) == (0.7, 50, 0.6, 3)
    assert chatty.replace(temperature=1.5).top_k == 50
    with pytest.raises(ValidationError, match="top_p"):
        config.replace(top_p=2)


def test_a_preset_stands_between_file_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("generation: {preset: factual, temperature: 1.5, seed: 4}")
    sections = {"generation": GenerationSettings}
    argv = ["--config", str(file), "--top-p", "0.5", "--stop-strings", "a", "b c", "--num_samples", "3"]
    loaded = load_config("inference.py", "", sections, Section, argv).get(GenerationSettings)
    assert (loaded.temperature, loaded.top_k, loaded.top_p, loaded.seed) == (0.2, 20, 0.5, 4)
    assert (loaded.stop, loaded.num_return_sequences) == (("a", "b c"), 3)
