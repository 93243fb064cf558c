from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.decoder import Decoder
from model.kv_cache import KVCache

Make = Callable[..., Decoder]
CPU = torch.device("cpu")


def _cache(model: Decoder, batch: int, capacity: int) -> KVCache:
    return KVCache(model.config, batch, capacity, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("qk_norm", [False, True])
@torch.no_grad()
def test_reading_in_pieces_equals_reading_at_once(make_decoder: Make, qk_norm: bool) -> None:
    model = make_decoder(qk_norm=qk_norm)
    tokens = torch.randint(0, 101, (3, 23))
    whole = model(tokens)
    cache = _cache(model, 3, 29)
    pieces = [model(part, cache=cache) for part in torch.split(tokens, [11, 1, 7, 1, 3], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-4, rtol=1e-4)
    assert cache.lengths == [23] * 3


@torch.no_grad()
def test_rows_of_different_lengths_go_on_as_if_alone(make_decoder: Make) -> None:
    model = make_decoder()
    tokens = torch.randint(0, 101, (3, 19))
    lengths = [5, 13, 2]
    cache = _cache(model, 3, 19)
    model.hidden(tokens[:, :13], cache=cache)  # what lies beyond a row's length is padding
    cache.truncate(lengths)
    following = torch.stack([tokens[row, n : n + 6] for row, n in enumerate(lengths)])
    first = model(following[:, :4], cache=cache)
    cache.reserve(5, 23)  # more room changes nothing
    cache.select([0, 2])
    second = model(following[[0, 2], 4:5], cache=cache)
    for row, length in enumerate(lengths):
        alone = model(tokens[row : row + 1, : length + 5])[0, length:]
        torch.testing.assert_close(first[row], alone[:4], atol=1e-4, rtol=1e-4)
        if row != 1:
            torch.testing.assert_close(second[row // 2, 0], alone[4], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_slots_are_read_in_any_order_and_copied(make_decoder: Make) -> None:
    model = make_decoder()
    tokens = torch.randint(0, 101, (2, 17))
    cache = _cache(model, 1, 0)
    cache.reserve(4, 17)
    cache.select([3, 1])
    model.hidden(tokens[:, :11], cache=cache)
    cache.copy(3, 0, 7)
    assert cache.lengths == [7, 11, 0, 11]
    cache.select([1, 0])
    following = model(torch.stack([tokens[1, 11:17], tokens[0, 7:13]]), cache=cache)
    whole = model(tokens)
    torch.testing.assert_close(following[0], whole[1, 11:17], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(following[1], whole[0, 7:13], atol=1e-4, rtol=1e-4)


def test_a_full_cache_is_our_mistake(make_decoder: Make) -> None:
    model = make_decoder()
    with pytest.raises(AssertionError, match="cache of 3"):
        model(torch.zeros(1, 4, dtype=torch.int64), cache=_cache(model, 1, 3))


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4), count=st.integers(1, 5))
def test_mask_says_what_positions_say(lengths: list[int], count: int) -> None:
    config = ModelConfig(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    cache = KVCache(config, len(lengths), 12, device=CPU, dtype=torch.float32)
    cache.lengths = list(lengths)
    positions, visible = cache.begin(count)
    columns = max(lengths) + count
    for row, length in enumerate(lengths):
        for place in range(count):
            position = positions[place] if positions.dim() == 1 else positions[row, place]
            assert position.item() == length + place
            if visible is None:  # everything (one token) or plain causal attention (a fresh cache)
                assert count == 1 or max(lengths) == 0
                continue
            seen = visible[place] if visible.dim() == 2 else visible[row, 0, place]
            assert seen.tolist() == [column <= length + place for column in range(columns)]
    cache.finish()
    assert cache.lengths == [length + count for length in lengths]
