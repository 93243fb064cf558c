from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from generation import bandwidth
from generation.bandwidth import read_bandwidth
from model.decoder import Decoder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_weights_are_read(
    make_model: Callable[..., Decoder], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still but for a second a sum of a whole model."""
    model = make_model(hidden_size=39, num_attention_heads=3).to(dtype)
    clock = iter(float(tick) for tick in range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    read: list[int] = []

    def counted(tensor: torch.Tensor) -> None:
        assert tensor.dtype == torch.float32
        read.append(tensor.nbytes)

    monkeypatch.setattr(bandwidth, "_reader", lambda kernels: counted)
    size = sum(weight.nbytes for weight in model.parameters())
    assert read_bandwidth(model) == sum(read)  # one round: a second is too long for another
    odd = sum(weight.numel() % 2 for weight in model.parameters()) if dtype == torch.bfloat16 else 0
    assert sum(read) == size - 2 * odd


@pytest.mark.parametrize("size", [1, 63, 64, 4095, 4096, 100_003])
def test_reading_sums_every_number(size: int) -> None:
    numbers = torch.arange(size, dtype=torch.float32) % 7
    assert float(bandwidth._reader(True)(numbers)) == numbers.sum().item()  # type: ignore[arg-type]


@pytest.mark.parametrize("room, size", [(4099, 4099), (4098, 1024), (0, 1)])
def test_a_gpu_reads_one_large_tensor_or_what_fits(monkeypatch: pytest.MonkeyPatch, room: int, size: int) -> None:
    zeros = torch.zeros

    def fits(count: int, device: torch.device) -> torch.Tensor:
        if count > max(1, room):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return zeros(count, device=device)

    monkeypatch.setattr(torch, "zeros", fits)
    monkeypatch.setattr(bandwidth, "WORDS", 4099)
    assert bandwidth._large(torch.device("cpu")).numel() == size
