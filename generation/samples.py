"""What a model writes while it is trained: the function that train.py hands to the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from generation.config import GenerationConfig
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.tokenizer import Tokenizer


def write_samples(
    model: Decoder,
    tokenizer: Tokenizer,
    mateconv: Mapping[str, Any],
    prompts: Sequence[str],
    tokens: int,
    seeds: Sequence[int],
) -> list[str]:
    """The text of up to `tokens` tokens that follows each prompt, by chance `seeds[n]` and the default options.

    `mateconv` is what the model's config.json would say under that key. Leaves `model` in evaluation mode.
    """
    generator = TextGenerator(model, tokenizer, mateconv=mateconv)
    return generator.batch_generate(prompts, GenerationConfig(max_new_tokens=tokens), seeds=seeds)
