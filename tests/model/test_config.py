from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from foundation.config import load_config
from foundation.section import Section
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
        ({"num_key_value_heads": 3, "architecture": "llama"}, "not a multiple of num_key_value_heads 3"),
        ({"head_dim": 5}, "even width"),
        ({"hidden_size": 0}, "greater than 0"),
        ({"rope_theta": float("inf")}, "finite"),
        ({"hidden_sise": 3}, "hidden_sise"),
    ],
)
def test_impossible_values_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ModelConfig(**changes)


def test_all_problems_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(architecture="llama", hidden_size=30, num_attention_heads=4, num_key_value_heads=3)
    assert "num_attention_heads 4: change" in str(caught.value)
    assert "num_key_value_heads 3" in str(caught.value)


def test_a_preset_replaces_the_file_and_flags_win_over_it() -> None:
    file = {"num_hidden_layers": 3, "num_key_value_heads": 7, "rope_theta": 500.0, "head_dim": 64}
    merged = ModelConfig(**ModelConfig.merge(file, {"preset": "15m", "num_hidden_layers": "5"}))
    assert (merged.preset, merged.num_hidden_layers, merged.num_key_value_heads) == ("15m", 5, 4)
    assert (merged.head_size, merged.feed_forward_size) == (32, 768)
    assert merged.rope_theta == 500.0  # not a matter of the preset
    of_the_file = ModelConfig.merge({"preset": "7m", "hidden_size": 30}, {"num_attention_heads": "10"})
    assert (of_the_file["hidden_size"], of_the_file["num_attention_heads"]) == (160, "10")
    assert ModelConfig.merge({"hidden_size": 30}, {"preset": "auto"}) == {"hidden_size": 30, "preset": "auto"}
    again = ModelConfig(**merged.model_dump())  # as a checkpoint brings it back: nothing is applied twice
    assert again == merged


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="did you mean 15m"):
        ModelConfig(preset="15mm")


def test_a_preset_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("model:\n  hidden_size: 40\n  num_attention_heads: 5\n  dropout: 0.1\n")
    monkeypatch.chdir(tmp_path)
    loaded = load_config("p", "d", {"model": ModelConfig}, Section, ["--preset", "3m", "--num_hidden_layers", "2"])
    config = loaded.get(ModelConfig)
    assert (config.hidden_size, config.num_hidden_layers, config.dropout) == (80, 2, 0.1)
