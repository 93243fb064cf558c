from __future__ import annotations

import pytest
import torch

from model import costs, preset_table
from model.config import ModelConfig
from model.decoder import Decoder
from model.presets import KEYS, PRESETS

SIZES = {"3m": 3, "7m": 7, "15m": 15, "30m": 30, "60m": 60}


@pytest.mark.parametrize("name", PRESETS)
def test_counted_parameters_are_those_of_the_network(name: str) -> None:
    config = ModelConfig(**PRESETS[name])
    with torch.device("meta"):
        model = Decoder(config, 32_000)
    assert costs.parameters(config, 32_000) == model.num_parameters()
    untied = ModelConfig(**PRESETS[name], tie_word_embeddings=False, qk_norm=True)
    with torch.device("meta"):
        assert costs.parameters(untied, 101) == Decoder(untied, 101).num_parameters()


def test_names_say_the_size() -> None:
    for name, millions in SIZES.items():
        assert costs.parameters(ModelConfig(**PRESETS[name]), 32_000) / 1e6 == pytest.approx(millions, rel=0.04), name
    for name, millions in (("124m", 124), ("350m", 350)):
        assert costs.parameters(ModelConfig(**PRESETS[name]), 50_257) / 1e6 == pytest.approx(millions, rel=0.02), name


def test_the_micro_sizes() -> None:
    shapes = {name: [PRESETS[name][key] for key in (*KEYS[:2], "hidden_size")] for name in PRESETS if "micro" in name}
    assert shapes == {"micro-v1": [2, 2, 4], "micro-v2": [4, 4, 8], "micro-v3": [6, 8, 16], "micro-v4": [8, 8, 256]}


@pytest.mark.parametrize("name", ["micro-v4", "7m"])
def test_activations_are_about_what_autograd_keeps(name: str) -> None:
    vocab_size, rows, length = 5003, 3, 97
    model = Decoder(ModelConfig(**PRESETS[name]), vocab_size).train()
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.dim() > 1:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.randint(0, vocab_size, (rows, length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = model.loss(tokens, tokens)
        kept_bytes = sum(kept.values())
    del loss
    # Weights are kept in bfloat16 as well, which the state does not count.
    weights = 2 * model.num_parameters()
    estimate = costs.activation_bytes(model.config, vocab_size, rows * length)
    assert estimate == pytest.approx(kept_bytes - weights, rel=0.5)


def test_the_table_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert preset_table.main(["--vocab_size", "50257", "--max_seq_len", "512"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(PRESETS)]] == list(PRESETS)
    row = next(line for line in lines if line.lstrip().startswith("124m")).split()
    # 124 M parameters of 16 bytes, and what 16 rows of 512 tokens keep; 20 tokens a parameter; PaLM's formula
    assert row[1:6] == ["12", "12/12", "768", "2048", "124M"] and row[8] == "2.5B"
    by_hand = 6 * (12 * (4 * 768**2 + 3 * 768 * 2048) + 50257 * 768) + 12 * 12 * 768 * 513 / 2
    assert float(row[9]) == pytest.approx(by_hand / 1e9, rel=0.005)
