from __future__ import annotations

import pytest
import torch

from foundation.errors import UserError
from model import costs, preset_table, presets
from model.architectures import settled
from model.build import new_model
from model.config import ModelConfig
from model.decoder import Decoder
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads
from model.presets import KEYS, PRESETS

SIZES = {"3m": 3, "7m": 7, "15m": 15, "30m": 30, "60m": 60}


ARCHITECTURES = ("llama", "bert", "modernbert")


@pytest.mark.parametrize("name", PRESETS)
def test_counted_parameters_are_those_of_the_network(name: str) -> None:
    for architecture in [kind for kind in ARCHITECTURES if name in presets.of(kind)]:
        shape = presets.merged(name, {"architecture": architecture}, ())
        heads = None if architecture == "llama" else Heads(mlm=True)
        for config, vocabulary in (
            (ModelConfig(**shape), 32_000),
            (ModelConfig(**shape, tie_word_embeddings=False, qk_norm=True), 101),
        ):
            with torch.device("meta"):
                model = new_model(config, vocabulary, heads)
            assert costs.parameters(config, vocabulary) == model.num_parameters()


def test_an_encoder_of_a_micro_size_has_its_own_feed_forward_width() -> None:
    def width(name: str, architecture: str) -> int:
        given = ModelConfig(**ModelConfig.merge({}, {"preset": name}))
        return settled(given, [architecture], ()).feed_forward_size

    assert [width(f"micro-v{n}", "bert") for n in (1, 2, 3, 4)] == [16, 32, 64, 1024]
    assert width("micro-v4", "modernbert") == 384 and width("micro-v4", "llama") == 704
    chosen = ModelConfig(**ModelConfig.merge({}, {"preset": "micro-v4", "intermediate_size": 77}))
    assert settled(chosen, ["bert"], {"preset", "intermediate_size"}).feed_forward_size == 77


def test_the_sizes_of_bert() -> None:
    """Millions of parameters: Turc et al. (2019), table 1, and Devlin et al. (2018), with their 30,522 tokens."""
    sizes = {"bert-tiny": 4.4, "bert-mini": 11.3, "bert-small": 29.1, "bert-medium": 41.7, "bert-base": 110.1}
    for name, millions in sizes.items():
        config = ModelConfig(**PRESETS[name], max_position_embeddings=512)
        assert costs.parameters(config, 30_522) / 1e6 == pytest.approx(millions, rel=0.03), name
    modern = ModelConfig(**PRESETS["modern-base"], max_position_embeddings=8192)
    assert costs.parameters(modern, 50_368) / 1e6 == pytest.approx(149, rel=0.01)  # Warner et al. (2024)


def test_a_preset_of_another_architecture_is_refused() -> None:
    config = ModelConfig(**ModelConfig.merge({}, {"preset": "bert-tiny"}))
    assert config.architecture == "bert"
    with pytest.raises(UserError, match=r"architecture bert: this task trains llama"):
        settled(config, ["llama"], ())
    chosen = ModelConfig(**ModelConfig.merge({}, {"preset": "bert-tiny", "architecture": "modernbert"}))
    with pytest.raises(UserError, match="preset bert-tiny is a bert, not a modernbert"):
        settled(chosen, ["bert", "modernbert"], {"preset", "architecture"})


def test_names_say_the_size() -> None:
    for name, millions in SIZES.items():
        assert costs.parameters(ModelConfig(**PRESETS[name]), 32_000) / 1e6 == pytest.approx(millions, rel=0.04), name
    for name, millions in (("124m", 124), ("350m", 350)):
        assert costs.parameters(ModelConfig(**PRESETS[name]), 50_257) / 1e6 == pytest.approx(millions, rel=0.02), name


def test_the_micro_sizes() -> None:
    shapes = {name: [PRESETS[name][key] for key in (*KEYS[:2], "hidden_size")] for name in PRESETS if "micro" in name}
    assert shapes == {"micro-v1": [2, 2, 4], "micro-v2": [4, 4, 8], "micro-v3": [6, 8, 16], "micro-v4": [8, 8, 256]}


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("micro-v4", "llama"), ("7m", "llama"), ("micro-v4", "bert"), ("modern-mini", "modernbert")],
)
def test_activations_are_about_what_autograd_keeps(name: str, architecture: str) -> None:
    vocab_size, rows, length = 5003, 3, 97
    config = ModelConfig(**presets.merged(name, {"architecture": architecture}, ()))
    model = new_model(config, vocab_size, Heads(mlm=True) if config.is_encoder else None).train()
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
            if isinstance(model, Encoder):
                loss = model.mlm_loss(model(tokens).flatten(0, 1), tokens.flatten())
            else:
                assert isinstance(model, Decoder)
                loss = model.loss(tokens, tokens)[0]
        kept_bytes = sum(kept.values())
    del loss
    # Weights are kept in bfloat16 as well, which the state does not count.
    weights = 2 * model.num_parameters()
    estimate = costs.activation_bytes(model.config, vocab_size, rows * length)
    assert estimate == pytest.approx(kept_bytes - weights, rel=0.5)


@pytest.mark.parametrize(("length", "window"), [(1, 3), (3, 3), (4, 3), (5, 3), (97, 3), (97, 64), (97, 200)])
def test_tokens_in_a_window(length: int, window: int) -> None:
    """Against counting them."""
    counted = sum(abs(i - j) <= window for i in range(length) for j in range(length)) / length
    assert costs.attended_locally(length, window) == pytest.approx(counted)


def test_local_layers_cost_less() -> None:
    """By hand: of 7 layers, numbers 0, 3 and 6 see 512 tokens, the others 64 to each side."""
    config = ModelConfig(**PRESETS["modern-mini"])
    after_attention = 256**2 + 3 * 256 * 384  # in the last layer only of what is read
    matrices = 6 * (4 * 256**2 + 3 * 256 * 384) + 3 * 256**2 + 0.25 * (after_attention + 1000 * 256 + 256**2)
    attended = 3 * 512 + 4 * costs.attended_locally(512, 64)
    assert costs.flops_per_token(config, 1000, 512, 0.25) == pytest.approx(6 * matrices + 12 * 256 * attended)


def test_the_table_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert preset_table.main(["--vocab_size", "50257", "--max_seq_len", "512"]) == 0
    lines = capsys.readouterr().out.splitlines()
    decoders = presets.of("llama")
    assert "124m and 350m are named for GPT-2's: --vocab_size 50257" in " ".join(lines)
    assert max(map(len, lines)) <= 120
    assert [line.split()[0] for line in lines[1 : 1 + len(decoders)]] == decoders and "15m" in lines[-1]
    row = next(line for line in lines if line.lstrip().startswith("124m")).split()
    # 124 M parameters of 16 bytes, and what 16 rows of 512 tokens keep; 20 tokens a parameter; PaLM's formula
    assert row[1:6] == ["12", "12/12", "768", "2048", "124M"] and row[8] == "2.5B"
    by_hand = 6 * (12 * (4 * 768**2 + 3 * 768 * 2048) + 50257 * 768) + 12 * 12 * 768 * 513 / 2
    assert float(row[9]) == pytest.approx(by_hand / 1e9, rel=0.005)


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_the_table_of_encoders(architecture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert preset_table.main(["--architecture", architecture, "--vocab_size", "30522", "--max_seq_len", "512"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = presets.of(architecture)
    assert [line.split()[0] for line in lines[1 : 1 + len(named)]] == named
    assert "--task mlm" in lines[-1]
    if architecture == "bert":
        row = next(line for line in lines if line.lstrip().startswith("bert-base")).split()
        assert row[1:6] == ["12", "12/12", "768", "3072", "110M"]
        head = 0.15 * (30522 * 768 + 768**2)
        unread = 0.85 * (768**2 + 2 * 768 * 3072)  # of the last layer, after its attention
        by_hand = 6 * (12 * (4 * 768**2 + 2 * 768 * 3072) - unread + head) + 12 * 12 * 768 * 512
        assert float(row[9]) == pytest.approx(by_hand / 1e9, rel=0.005)
