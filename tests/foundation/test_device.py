"""The device and number format that are asked for, or a clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundation import device
from foundation.errors import UserError


@pytest.fixture
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_a_machine_without_accelerator_computes_on_the_cpu(no_accelerator: None, name: str):
    assert device.pick_device(name) == torch.device("cpu")


def test_order_of_choice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.pick_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.pick_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "cuda:-1", "meta", "xpu", "CPU ", "tpu:0"])
def test_names_that_are_no_device(no_accelerator: None, name: str):
    with pytest.raises(UserError, match="is not a device; use auto, cuda") as caught:
        device.pick_device(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_devices_that_are_not_there(no_accelerator: None, name: str):
    with pytest.raises(UserError, match="use auto or cpu"):
        device.pick_device(name)


def test_a_gpu_number_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match="there are 2 CUDA GPUs"):
        device.pick_device("cuda:2")


@pytest.mark.gpu
def test_auto_takes_the_gpu_and_bfloat16():
    chosen = device.pick_device("auto")
    assert chosen.type == "cuda"
    assert device.pick_dtype("auto", chosen) is (
        torch.bfloat16 if torch.cuda.get_device_capability(chosen)[0] >= 8 else torch.float32
    )


def test_named_formats():
    cpu = torch.device("cpu")
    assert [device.pick_dtype(name, cpu) for name in ("float32", "bfloat16", "float16")] == [
        torch.float32, torch.bfloat16, torch.float16,
    ]  # fmt: skip
    with pytest.raises(UserError, match="'int8' is not known; use auto, float32, bfloat16, float16"):
        device.pick_dtype("int8", cpu)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fpu avx512f avx512_bf16 x", torch.bfloat16),
        ("flags : amx_bf16", torch.bfloat16),
        ("Features : fp asimd bf16 i8mm", torch.bfloat16),
        ("flags : fpu avx2 avx512f", torch.float32),
    ],
)
def test_auto_format_on_a_cpu_follows_its_instructions(
    monkeypatch: pytest.MonkeyPatch, flags: str, expected: torch.dtype
):
    monkeypatch.setattr(Path, "read_text", lambda self, **_: flags)
    assert device.pick_dtype("auto", torch.device("cpu")) is expected


def test_without_cpuinfo_it_is_float32(monkeypatch: pytest.MonkeyPatch):
    def missing(self: Path, **_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert device.pick_dtype("auto", torch.device("cpu")) is torch.float32
