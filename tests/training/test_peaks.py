from __future__ import annotations

import pytest
import torch

from training.devices.peaks import peak_flops, peak_of


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H200", 989.4),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H800", 989.4),
        ("NVIDIA H800 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A1000", None),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_chips_are_told_apart_by_their_names(name: str, teraflops: float | None) -> None:
    peak = peak_of(name, torch.bfloat16, tf32=False)
    assert peak == (None if teraflops is None else pytest.approx(teraflops * 1e12))


def test_the_number_format_decides() -> None:
    name = "NVIDIA A100-SXM4-40GB"
    rates = [peak_of(name, *case) for case in ((torch.float16, False), (torch.float32, True), (torch.float32, False))]
    assert rates == [312e12, 156e12, 19.5e12]
    assert peak_flops(torch.device("cpu"), torch.bfloat16) is None


@pytest.mark.parametrize(
    ("name", "half", "single"),
    [
        ("Tesla V100-SXM2-16GB", 125, 15.7),
        ("Tesla V100-PCIE-32GB", 112, 14),
        ("Tesla V100S-PCIE-32GB", 130, 16.4),
        ("Tesla T4", 65, 8.1),
    ],
)
def test_chips_without_bfloat16(name: str, half: float, single: float) -> None:
    for tf32 in (False, True):  # nor have they TF32
        assert peak_of(name, torch.float16, tf32) == pytest.approx(half * 1e12)
        assert peak_of(name, torch.float32, tf32) == pytest.approx(single * 1e12)
        assert peak_of(name, torch.bfloat16, tf32) is None


@pytest.mark.gpu
def test_torchs_precision_setting_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert peak_flops(device, torch.float32) == pytest.approx(494.7e12)
