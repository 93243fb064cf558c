from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from generation.config import GenerationConfig
from generation.engine import Engine, Request
from model.decoder import Decoder

Make = Callable[..., Decoder]
PROMPTS = [[5, 17, 3], [200, 4, 4, 4, 150, 31, 8, 90, 11, 12, 13], [77], [60, 61, 62, 63, 64]]
SAMPLED: dict[str, Any] = {"seed": 11, "temperature": 1.3, "top_k": 40, "top_p": 0.97}
PROCESSED: dict[str, Any] = SAMPLED | {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2}


def _run(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    stop: Sequence[int] = (),
    engine: Engine | None = None,
    **options: Any,
) -> list[list[int]]:
    engine = engine or Engine(model)
    config = GenerationConfig(**options)
    texts: list[list[int]] = [[] for _ in prompts]
    for token in engine.stream([Request(prompt, config, config.seed, stop) for prompt in prompts]):
        if token.token is not None:
            texts[token.request].append(token.token)
    return texts


@pytest.mark.parametrize("options", [{"do_sample": False}, SAMPLED, PROCESSED])
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_batch_gives_each_row_what_it_gives_alone(
    make_model: Make, options: dict[str, Any], use_cache: bool, compiled: bool
) -> None:
    model = make_model()
    alone = [_run(model, [prompt], max_new_tokens=23, **options)[0] for prompt in PROMPTS]
    assert all(len(text) == 23 for text in alone)
    engine = Engine(model, slots=3, compile=compiled)
    assert _run(model, PROMPTS, engine=engine, max_new_tokens=23, use_cache=use_cache, **options) == alone


def test_rows_that_stop_early_leave_the_others_alone(make_model: Make) -> None:
    model = make_model()
    free = _run(model, PROMPTS, max_new_tokens=29, **SAMPLED)
    stop = [free[0][7], free[2][3]]
    cut = [text[: min([text.index(s) for s in stop if s in text], default=29)] for text in free]
    assert len({len(text) for text in cut}) > 1
    assert _run(model, PROMPTS, stop, max_new_tokens=29, **SAMPLED) == cut


def test_stopping_at_once_gives_nothing(make_model: Make) -> None:
    model = make_model()
    first = _run(model, [PROMPTS[0]], max_new_tokens=1, do_sample=False)[0][0]
    assert _run(model, [PROMPTS[0]], [first], max_new_tokens=5, do_sample=False) == [[]]


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_ends_where_the_context_is_full(make_model: Make, use_cache: bool) -> None:
    model = make_model(max_position_embeddings=13)
    prompts = [[1, 2, 3], [9] * 12, [4] * 7]
    texts = _run(model, prompts, max_new_tokens=50, do_sample=False, use_cache=use_cache)
    assert [len(text) for text in texts] == [10, 1, 6]


def test_seeds(make_model: Make) -> None:
    model = make_model()
    options = SAMPLED | {"max_new_tokens": 19}
    assert _run(model, PROMPTS, **options) == _run(model, PROMPTS, **options)
    assert _run(model, PROMPTS, **(options | {"seed": 12})) != _run(model, PROMPTS, **options)
    unseeded = options | {"seed": None}
    assert _run(model, PROMPTS, **unseeded) != _run(model, PROMPTS, **unseeded)
    shorter = _run(model, PROMPTS, **(options | {"max_new_tokens": 5}))
    assert [text[:5] for text in _run(model, PROMPTS, **options)] == shorter
    first, second = (_run(model, [[5]], **(options | {"seed": seed}))[0] for seed in (1, 2))
    assert first != second


def test_unseeded_rows_and_the_global_generator_do_not_meet(make_model: Make) -> None:
    model = make_model()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    _run(model, PROMPTS, max_new_tokens=3, **SAMPLED)
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_model_generates(make_model: Make) -> None:
    model = make_model().to(torch.bfloat16)
    assert [len(text) for text in _run(model, PROMPTS, max_new_tokens=7, **SAMPLED)] == [7] * 4


def test_each_token_is_read_once_with_a_cache(make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    widths: list[int] = []
    hidden = model.hidden

    def watched(tokens: torch.Tensor, **others: Any) -> torch.Tensor:
        widths.append(tokens.shape[1])
        return hidden(tokens, **others)

    monkeypatch.setattr(model, "hidden", watched)
    _run(model, PROMPTS, engine=Engine(model, compile=False), max_new_tokens=5, do_sample=False)
    assert sorted(widths) == [1] * 5 + [3, 5, 11]
