from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.config import ModelConfig


def test_derived_sizes() -> None:
    config = ModelConfig(hidden_size=256, num_attention_heads=8, num_key_value_heads=4)
    assert config.head_size == 32
    assert config.feed_forward_size == 704  # 8/3 * 256 = 682.7, up to a multiple of 64
    given = ModelConfig(hidden_size=30, num_attention_heads=4, num_key_value_heads=2, head_dim=6, intermediate_size=7)
    assert (given.head_size, given.feed_forward_size) == (6, 7)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": 30, "num_attention_heads": 4}, "not a multiple of num_attention_heads 4"),
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads 3"),
        ({"head_dim": 5}, "even width"),
        ({"hidden_size": 0}, "greater than 0"),
        ({"rope_theta": float("inf")}, "finite"),
        ({"hidden_sise": 3}, "hidden_sise"),
    ],
)
def test_impossible_values_are_named(changes: dict[str, float], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ModelConfig(**changes)


def test_all_problems_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(hidden_size=30, num_attention_heads=4, num_key_value_heads=3)
    assert "num_attention_heads 4: change" in str(caught.value)
    assert "num_key_value_heads 3" in str(caught.value)
