from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from generation.config import GenerationConfig
from generation.engine import Engine, Request
from generation.engine.runner import Part
from model.decoder import Decoder

Make = Callable[..., Decoder]
LONG = list(range(100, 140))


@pytest.fixture
def engine(make_model: Make) -> Engine:
    return Engine(make_model(), slots=2)


@pytest.fixture
def passes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many tokens each pass read for each text."""
    seen: list[list[int]] = []
    read = engine._runner.read

    def watched(parts: Sequence[Part]) -> Tensor:
        seen.append([len(part.tokens) for part in parts])
        return read(parts)

    monkeypatch.setattr(engine._runner, "read", watched)
    return seen


def _texts(engine: Engine, prompts: Sequence[Sequence[int]], new: int = 5, **options: Any) -> list[list[int]]:
    config = GenerationConfig(do_sample=False, max_new_tokens=new, **options)
    texts: list[list[int]] = [[] for _ in prompts]
    for token in engine.stream([Request(prompt, config) for prompt in prompts]):
        texts[token.request] += [] if token.token is None else [token.token]
    return texts


def _alone(make_model: Make, prompt: Sequence[int], new: int = 5) -> list[int]:
    return _texts(Engine(make_model()), [prompt], new)[0]


def test_the_next_turn_reads_only_what_is_new(engine: Engine, passes: list[list[int]], make_model: Make) -> None:
    first = _texts(engine, [LONG])[0]
    assert passes == [[40], [1], [1], [1], [1]]
    passes.clear()
    turn = [*LONG, *first, 7, 8]
    assert _texts(engine, [turn])[0] == _alone(make_model, turn)
    assert passes[0] == [3]  # the answer's last token was never read
    passes.clear()
    assert _texts(engine, [LONG[:20]])[0] == _alone(make_model, LONG[:20])
    assert passes[0] == [1]  # the last token of a prompt is read anew


def test_texts_with_the_same_beginning_read_it_once(engine: Engine, passes: list[list[int]], make_model: Make) -> None:
    prompts = [[*LONG, 1], [*LONG, 2, 3]]
    assert _texts(engine, prompts) == [_alone(make_model, prompt) for prompt in prompts]
    assert sum(sum(counts) for counts in passes) == 41 + 2 + 2 * 4


def test_a_long_text_is_not_given_up_for_a_short_beginning(
    engine: Engine, passes: list[list[int]], make_model: Make
) -> None:
    other = [*LONG[:3], *LONG[::-1]]
    _texts(engine, [LONG])
    assert _texts(engine, [other])[0] == _alone(make_model, other)
    passes.clear()
    assert _texts(engine, [LONG])[0] == _alone(make_model, LONG)
    assert passes[0] == [1]


def test_the_slot_given_back_first_is_the_first_to_be_overwritten(
    engine: Engine, passes: list[list[int]], make_model: Make
) -> None:
    first, second, third = LONG, LONG[::-1], LONG[1::2]
    for prompt in (first, second, third):
        _texts(engine, [prompt])
    passes.clear()
    _texts(engine, [second], 1)
    _texts(engine, [first], 1)
    assert passes == [[1], [40]]
    assert _texts(engine, [third])[0] == _alone(make_model, third)


def test_memory_follows_the_texts(make_model: Make) -> None:
    engine = Engine(make_model(), slots=16)
    _texts(engine, [[1, 2, 3]])
    small = engine._cache.nbytes
    _texts(engine, [[n] for n in range(16)], 70)
    assert engine._cache.slots == 16 and 16 * small <= engine._cache.nbytes <= 2 * 16 * small
    assert engine._cache.capacity <= 97


def test_long_prompts_do_not_hold_up_running_texts(engine: Engine, make_model: Make, passes: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("generation.engine.engine.CHUNK_BESIDE_OTHERS", 16)
        config = GenerationConfig(do_sample=False, max_new_tokens=9)
        short = engine.submit(Request([5], config))
        engine.step()
        long = engine.submit(Request(LONG, config))
        given = [engine.step() for _ in range(4)]
    assert [[token.request for token in tokens] for tokens in given] == [[short], [short], [short, long], [short, long]]
    assert passes == [[1], [1, 16], [1, 16], [1, 8], [1, 1]]


def test_texts_without_a_cache_are_read_in_pieces_too(engine: Engine, make_model: Make) -> None:
    config = GenerationConfig(do_sample=False, max_new_tokens=5, use_cache=False)
    texts: dict[int, list[int | None]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("generation.engine.engine.CHUNK", 16)
        for prompt in (LONG, LONG[:30]):  # the second comes when a piece of the first is read
            texts[engine.submit(Request(prompt, config))] = []
            engine.step()
        while not engine.idle:
            for token in engine.step():
                texts[token.request].append(token.token)
    assert [*texts.values()] == [_alone(make_model, LONG), _alone(make_model, LONG[:30])]


def test_cancelled_texts_leave_their_slot_at_once(engine: Engine, make_model: Make) -> None:
    config = GenerationConfig(do_sample=False, max_new_tokens=50)
    numbers = [engine.submit(Request([n], config)) for n in (3, 4, 5)]
    assert [token.request for token in engine.step()] == numbers[:2]
    assert (engine.running, engine.waiting) == (2, 1)
    engine.cancel(numbers[0])
    engine.cancel(12345)
    assert [token.request for token in engine.step()] == numbers[1:]
    for number in numbers:
        engine.cancel(number)
    assert engine.idle and engine.step() == []
    assert _texts(engine, [LONG])[0] == _alone(make_model, LONG)


def test_an_interrupted_step_spoils_nothing(engine: Engine, make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GenerationConfig(do_sample=False, max_new_tokens=50, prompt_lookup_num_tokens=3)
    for hook, name in ((engine._runner, "read"), (engine._sampler, "choose"), (engine._cache, "reserve")):
        number = engine.submit(Request([*LONG, *LONG[:9]], config))
        for _ in range(3):
            engine.step()
        with monkeypatch.context() as patch:
            patch.setattr(hook, name, _interrupt)
            with pytest.raises(KeyboardInterrupt):
                engine.step()
        engine.cancel(number)
        assert engine.idle
        assert _texts(engine, [LONG])[0] == _alone(make_model, LONG)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_usage_counts_tokens_and_bytes(make_model: Make) -> None:
    model = make_model(tie_word_embeddings=False)
    engine = Engine(model)
    _texts(engine, [[1, 2, 3]], 4)
    usage = engine.usage
    assert (usage.tokens, usage.passes) == (4, 4) and usage.seconds > 0
    weights = sum(weight.nbytes for weight in model.parameters()) - model.embedding.weight.nbytes
    held = 2 * 2 * 1 * 10 * 4  # keys and values, layers, heads, head size, bytes
    assert usage.bytes_read == 4 * weights + held * (3 + 4 + 5 + 6)
    assert Engine(model, quantization="int8")._weights < weights / 3
    assert Engine(model.to(torch.bfloat16))._weights == weights / 2
