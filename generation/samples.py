"""What a model writes, fills in or tells while it is trained: the function that train.py hands to the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from generation.chat import Message
from generation.config import GenerationConfig
from generation.encoder.show import masks_line
from generation.encoder.text import TextEncoder
from generation.text import TextGenerator
from model.base import LanguageModel
from model.decoder import Decoder
from model.encoder.encoder import Encoder
from tokenization.tokenizer import Tokenizer


def write_samples(
    model: LanguageModel,
    tokenizer: Tokenizer,
    mateconv: Mapping[str, Any],
    prompts: Sequence[str],
    tokens: int,
    seeds: Sequence[int],
) -> list[str | None]:
    """What the model makes of each prompt.

    A decoder: the text of up to `tokens` tokens that follows it, by chance `seeds[n]` and the default options; one that
    was trained to chat answers it. An encoder: the likeliest words for its masks, or its class. None for a prompt
    without a mask, or that is empty and should be answered or classified.
    `mateconv` is what the model's config.json would say under that key. Leaves `model` in evaluation mode.
    """
    if isinstance(model, Encoder):
        return _tell(TextEncoder(model, tokenizer, mateconv=mateconv), prompts)
    assert isinstance(model, Decoder)
    generator = TextGenerator(model, tokenizer, mateconv=mateconv, compile=False)  # a training's memory is its own
    config = GenerationConfig(max_new_tokens=tokens)
    if not generator.can_chat:
        return [*generator.batch_generate(prompts, config, seeds=seeds)]
    asked = [prompt for prompt in prompts if prompt]
    chances = [seed for prompt, seed in zip(prompts, seeds, strict=True) if prompt]
    answers = iter(generator.batch_generate([_question(prompt) for prompt in asked], config, seeds=chances))
    return [next(answers) if prompt else None for prompt in prompts]


def _question(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _tell(encoder: TextEncoder, prompts: Sequence[str]) -> list[str | None]:
    if encoder.labels:
        wanted = [prompt for prompt in prompts if prompt]
        answers = iter(f"{found.label} {found.confidence:.3f}" for found in encoder.classify(wanted))
        return [next(answers) if prompt else None for prompt in prompts]
    if not encoder.fills_masks:
        return [None] * len(prompts)
    return [masks_line(masks) or None for masks in encoder.fill_masks(prompts)]
