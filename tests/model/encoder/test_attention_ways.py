"""Which way an encoder's attention takes on which device, and that it knows what decides."""

from __future__ import annotations

import pytest
import torch

from model import documents
from model.build import new_model
from model.config import ModelConfig
from model.encoder.attention import Layout
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads

CPU = torch.device("cpu")


def test_who_goes_which_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def way(length: int, dtype: torch.dtype, packed: bool, window: int | None = None, dropout: float = 0.0) -> str:
        segments = torch.tensor([0, length]) if packed else None
        return Layout.of(segments, 1, length, CPU, dtype, 64).way(window, dropout)

    assert way(512, torch.bfloat16, False) == way(64, torch.bfloat16, True) == "pieces"
    assert way(512, torch.bfloat16, True, dropout=0.1) == way(64, torch.float32, False, dropout=0.1) == "pieces"
    assert way(8, torch.bfloat16, True) == "mask"
    assert way(512, torch.float32, True) == "pieces"
    assert way(512, torch.float32, False) == way(128, torch.float32, True) == "mask"
    assert way(512, torch.float32, False, window=64, dropout=0.1) == "chunks"
    assert way(512, torch.bfloat16, True, window=511) == "pieces"  # as wide as the row: no window


def test_who_takes_flash_attention_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(documents, "varlen_attn", documents.attend_varlen)  # builds for CPUs have none
    layout = Layout(torch.empty(1, 512, dtype=torch.int64, device="meta"), None, torch.bfloat16, 64)
    layout.positions = type("Cuda", (), {"device": torch.device("cuda"), "shape": (1, 512)})()  # type: ignore[assignment]
    assert (layout.way(64, 0.0), layout.way(None, 0.0), layout.way(64, 0.1)) == ("varlen", "mask", "mask")
    layout.segments = torch.tensor([0, 512])
    assert layout.way(None, 0.0) == "varlen"
    layout.head_size = 2
    assert (layout.way(64, 0.0), layout.way(None, 0.0)) == ("mask", "mask")
    layout.head_size, layout.dtype = 64, torch.float32
    assert layout.way(None, 0.0) == "mask"


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_a_layout_knows_how_wide_the_heads_are(architecture: str) -> None:
    config = ModelConfig(architecture=architecture, hidden_size=20, num_attention_heads=2, num_hidden_layers=1)
    model = new_model(config, 101, Heads(mlm=True))
    assert isinstance(model, Encoder) and model._layout(torch.zeros(2, 7, dtype=torch.int64), None).head_size == 10
