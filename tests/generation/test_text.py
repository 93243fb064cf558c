from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.engine import Engine, Finish, Request, Token
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.tokenizer import Tokenizer

Make = Callable[..., Decoder]
OURS = {"objective": "causal", "chat_trained": False}
SAMPLED = GenerationConfig(seed=3, max_new_tokens=29)


@pytest.fixture
def generator(make_model: Make, tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), tokenizer, mateconv=OURS)


def _watch(monkeypatch: pytest.MonkeyPatch, tokens: Sequence[int]) -> list[list[int]]:
    """Make the engine give `tokens` for every prompt; the prompts it was given are returned."""
    prompts: list[list[int]] = []

    class Fake(Iterator[Token]):
        def __init__(self, requests: Iterable[Request], **_: Any) -> None:
            given = list(requests)
            prompts.extend(list(request.prompt) for request in given)
            steps: list[tuple[int | None, Finish | None]] = [*((token, None) for token in tokens), (None, "stop")]
            self._tokens = [
                Token(place, token, finish=finish) for token, finish in steps for place in range(len(given))
            ]

        def __next__(self) -> Token:
            if not self._tokens:
                raise StopIteration
            return self._tokens.pop(0)

        def close(self) -> None:
            pass

    monkeypatch.setattr(Engine, "stream", Fake)
    return prompts


def test_three_ways_of_delivery_give_the_same_text(generator: TextGenerator) -> None:
    whole = generator.generate("the cat", SAMPLED)
    assert len(whole) > 5
    heard: list[str] = []
    assert generator.generate("the cat", SAMPLED, stream=True, callback=heard.append) == whole
    pieces = list(generator.generate("the cat", SAMPLED, stream=True))
    assert pieces == heard and "".join(pieces) == whole and len(pieces) > 3
    assert generator.generate("the cat", SAMPLED.model_copy(update={"use_cache": False})) == whole


def test_a_batch_gives_what_each_prompt_gives_alone(generator: TextGenerator) -> None:
    prompts = ["the cat", "", "床前明月光", "the dog sat on the mat, and " * 3, "café"]
    alone = [generator.generate(prompt, SAMPLED) for prompt in prompts]
    for size in (1, 2, 16):
        assert generator.batch_generate(prompts, SAMPLED, batch_size=size) == alone
    assert generator.batch_generate([], SAMPLED) == []
    seeded = generator.batch_generate(["the cat"] * 3, SAMPLED, seeds=[3, 4, 5])
    assert seeded[0] == alone[0] and len(set(seeded)) == 3
    with pytest.raises(UserError, match="2 for 3 prompts"):
        generator.batch_generate(["the cat"] * 3, SAMPLED, seeds=[3, 4])


def test_streaming_shows_whole_characters_only(
    generator: TextGenerator, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "🙂 床前明月光\tnaïve 👩‍👩‍👧 𝕏 end"
    ids = tokenizer.encode(text)
    assert len(ids) > len(text)  # most characters take several tokens
    _watch(monkeypatch, ids)
    pieces = list(generator.generate("x", stream=True))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces) and "" not in pieces
    _watch(monkeypatch, tokenizer.encode("end 🙂")[:-1])  # the last character never ends
    assert "".join(generator.generate("x", stream=True)) == "end "
    assert generator.batch_generate(["x", "y"]) == ["end ", "end "]


def test_prompts_begin_as_documents_did(
    make_model: Make, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = _watch(monkeypatch, [])
    plain = tokenizer.encode("the cat")
    cases: list[tuple[dict[str, Any], list[int]]] = [
        (OURS, [0, *plain]),
        ({"terminator": [7, 8]}, [7, 8, *plain]),
        ({"terminator": []}, plain),
        ({}, plain),  # a foreign model
    ]
    for mateconv, expected in cases:
        TextGenerator(make_model(), tokenizer, mateconv=mateconv).generate("the cat")
        assert prompts.pop() == expected
    TextGenerator(make_model(), tokenizer).generate("")
    assert prompts.pop() == [0]


def test_special_tokens_in_prompts_are_plain_text(
    generator: TextGenerator, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = _watch(monkeypatch, [])
    generator.generate("a<|endoftext|>b<|im_end|>")
    assert set(prompts[0][1:]).isdisjoint(tokenizer.special_ids)
    assert tokenizer.decode(prompts[0][1:]) == "a<|endoftext|>b<|im_end|>"


@pytest.mark.parametrize(("new", "kept"), [(10, 87), (500, 49)])
def test_long_prompts_keep_their_end_with_a_warning(
    generator: TextGenerator,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    new: int,
    kept: int,
) -> None:
    prompts = _watch(monkeypatch, [])
    long = "床" * 140 + "the end"
    with caplog.at_level(logging.WARNING, logger="mateconv"):
        generator.generate(long, GenerationConfig(max_new_tokens=new))
    assert prompts[0] == tokenizer.encode(long)[-kept:]
    assert "context 97" in caplog.text


def test_ends_of_text_end_the_text(make_model: Make, tokenizer: Tokenizer) -> None:
    model = make_model()
    free = TextGenerator(model, tokenizer, mateconv=OURS).generate("the cat", SAMPLED)
    told = TextGenerator(model, tokenizer, mateconv=OURS).complete("the cat", SAMPLED.replace(logprobs=0))[0].logprobs
    ids = [token.id for token in told or ()]
    cut = next(place for place, token in enumerate(ids) if place > 5 and token not in ids[:place])
    for end in (ids[cut], [330, ids[cut]]):
        ended = TextGenerator(model, tokenizer, mateconv=OURS, generation={"eos_token_id": end})
        short = ended.generate("the cat", SAMPLED)
        assert ended.engine.usage.tokens == cut
        assert free.startswith(short) and short != free


def test_counting(generator: TextGenerator) -> None:
    generator.generate("a", GenerationConfig(max_new_tokens=7, do_sample=False))
    generator.batch_generate(["a", "b"], GenerationConfig(max_new_tokens=5, do_sample=False))
    assert 7 <= generator.engine.usage.tokens <= 17 and generator.engine.usage.seconds > 0


def test_a_tokenizer_of_another_model_is_refused(tokenizer: Tokenizer, make_model: Make) -> None:
    torch.manual_seed(0)
    small = Decoder(make_model().config, tokenizer.vocab_size - 1)
    with pytest.raises(UserError, match="331 tokens"):
        TextGenerator(small, tokenizer)


def test_prompts_that_are_no_text_are_refused(generator: TextGenerator) -> None:
    with pytest.raises(UserError, match="UTF-8"):
        generator.generate("a\udcff")
