"""The same text as `transformers` writes, alone, in a batch, streamed and after what a slot still holds.

Where the two likeliest tokens are within 1e-4 of each other rounding decides: such near-ties are counted, and a text is
compared no further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from generation.config import GenerationConfig
from generation.engine import Engine, Request
from generation.text import TextGenerator
from model.decoder import Decoder
from model.directory import save_model_directory
from tokenization.tokenizer import Tokenizer

Make = Callable[..., Decoder]
NEAR = 1e-4
NEW = 30
GREEDY: dict[str, Any] = {"do_sample": False}
PROCESSED: dict[str, Any] = GREEDY | {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3}
SAMPLED = GenerationConfig(seed=7, max_new_tokens=40, temperature=1.1, repetition_penalty=1.1, top_k=40, top_p=0.95)


def _prompts(count: int, longest: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(4, 331, (length,), generator=generator).tolist() for length in lengths]


def _texts(model: Decoder, prompts: Sequence[Sequence[int]], new: int, **options: Any) -> list[list[int]]:
    texts: list[list[int]] = [[] for _ in prompts]
    config = GenerationConfig(max_new_tokens=new, **options)
    for token in Engine(model).stream(Request(prompt, config) for prompt in prompts):
        texts[token.request] += [] if token.token is None else [token.token]
    return texts


class Theirs:
    """What `transformers` writes after each prompt by itself, and how far apart its two best scores were."""

    def __init__(self, model: Decoder, directory: Path, prompts: Iterable[list[int]], new: int, **options: Any) -> None:
        save_model_directory(directory, model, tokenizer_files={}, generation={}, mateconv={})
        theirs = AutoModelForCausalLM.from_pretrained(directory)
        self.texts: list[list[int]] = []
        self.gaps: list[list[float]] = []
        for prompt in prompts:
            out = theirs.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                max_new_tokens=new, pad_token_id=0, output_scores=True, return_dict_in_generate=True, **options,
            )  # fmt: skip
            self.texts.append(out.sequences[0, len(prompt) :].tolist())
            best = torch.stack([scores[0].topk(2).values for scores in out.scores])
            self.gaps.append((best[:, 0] - best[:, 1]).tolist())

    def near_ties(self, texts: list[list[int]]) -> int:
        """How many of `texts` left theirs at a near-tie; fails where one left it elsewhere."""
        count = 0
        for own, expected, gaps in zip(texts, self.texts, self.gaps, strict=True):
            assert len(own) == len(expected)
            place = next((n for n in range(len(own)) if own[n] != expected[n]), None)
            if place is not None:
                assert gaps[place] < NEAR, f"{own} left {expected} at {place}, where the gap is {gaps[place]}"
                count += 1
        return count


@pytest.mark.parametrize(("count", "options"), [(20, GREEDY), (7, PROCESSED)], ids=["plain", "processors"])
def test_greedy_texts_are_those_of_transformers(
    make_model: Make, tmp_path: Path, count: int, options: dict[str, Any]
) -> None:
    _compare(make_model(), tmp_path, _prompts(count, 60), NEW, options, most=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("qk_norm", "options"), [(False, GREEDY), (True, PROCESSED)], ids=["llama", "qwen3"])
def test_200_greedy_texts(make_model: Make, tmp_path: Path, qk_norm: bool, options: dict[str, Any]) -> None:
    model = make_model(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3,
                       max_position_embeddings=400, qk_norm=qk_norm)  # fmt: skip
    _compare(model, tmp_path, _prompts(200, 300), 64, options, most=4)


def _compare(
    model: Decoder, directory: Path, prompts: list[list[int]], new: int, options: dict[str, Any], most: int
) -> None:
    theirs = Theirs(model, directory, prompts, new, **options)
    assert sum(len(set(text)) > new // 3 for text in theirs.texts) > len(prompts) / 2  # or they would say little
    ties = theirs.near_ties([text for prompt in prompts for text in _texts(model, [prompt], new, **options)])
    together = theirs.near_ties(_texts(model, prompts, new, **options))
    print(f"{len(prompts)} prompts: {ties} near-ties alone, {together} in batches of 16")
    assert ties <= most and together <= most


@pytest.mark.parametrize("options", [{}, {"do_sample": False}, {"top_k": 0, "min_p": 0.05, "top_p": 1.0}])
def test_the_same_text_alone_in_a_batch_and_streamed(
    make_model: Make, tokenizer: Tokenizer, options: dict[str, Any]
) -> None:
    """Sixteen prompts of mixed length with a seed each; others of other options come and go beside them."""
    generator = TextGenerator(make_model(), tokenizer)
    words = ["the cat", "床前明月光", "🙂", "the dog sat on the mat and", "a", "疑是地上霜 the"]
    prompts = [words[n % 6] * (1 + n % 5) for n in range(16)]
    config = SAMPLED.replace(**options)
    alone = []
    for seed, prompt in enumerate(prompts):
        alone.append(TextGenerator(generator.model, tokenizer).generate(prompt, config.replace(seed=seed)))
    assert len(set(alone)) == 16
    assert generator.batch_generate(prompts, config, seeds=range(16)) == alone
    streams = [
        generator.generate(prompt, config.replace(seed=seed, max_new_tokens=40), stream=True)
        for seed, prompt in enumerate(prompts[:4])
    ]
    other = generator.generate("beside them", GenerationConfig(seed=1, max_new_tokens=90), stream=True)
    streamed = [""] * 4
    for _ in range(60):  # in turns, through one engine
        next(other, "")
        for place, stream in enumerate(streams):
            streamed[place] += next(stream, "")
    assert streamed == alone[:4]


def test_a_conversation_is_the_same_when_nothing_is_held_of_it(make_model: Make, chat_tokenizer: Tokenizer) -> None:
    """Every turn, an answer tried again and one after another beginning: against a new generator for each."""
    model = make_model(max_position_embeddings=400)
    keeping = TextGenerator(model, chat_tokenizer, mateconv={"chat_trained": True})
    history: list[dict[str, str]] = [{"role": "system", "content": "be a cat"}]
    config = SAMPLED.replace(max_new_tokens=12)
    for turn, text in enumerate(["hello", "床前明月光", "and the dog?", "🙂"]):
        history.append({"role": "user", "content": text})
        for seed in (turn, turn + 50):
            fresh = TextGenerator(model, chat_tokenizer, mateconv={"chat_trained": True})
            answer = fresh.chat(history, config.replace(seed=seed))
            assert keeping.chat(history, config.replace(seed=seed)) == answer
        history.append({"role": "assistant", "content": answer})
        if turn == 2:
            history = history[:2]  # begun anew
