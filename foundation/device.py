"""Which device and number format to compute on, and whether its memory ran out. The only file of this package that
imports torch."""

from __future__ import annotations

from pathlib import Path

import torch

from foundation.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")
"""What MPS, the CPU's allocator and the mapping of a file say."""


def pick_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU. A device that is not there is a `UserError`."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cuda", "mps", "cpu"):
        raise UserError(f"device: {name!r} is not a device; use auto, cuda, cuda:0, mps or cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device: {name!r} was asked for, but torch sees no CUDA GPU; use auto or cpu")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise UserError(f"device: {name!r} was asked for, but there are {torch.cuda.device_count()} CUDA GPUs")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device: {name!r} was asked for, but torch sees no Apple GPU; use auto or cpu")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The compute format. `auto` is bfloat16 where the hardware multiplies it natively, else float32."""
    if name == "auto":
        return torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    if name not in DTYPES:
        raise UserError(f"dtype: {name!r} is not known; use auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 run on the device's own instructions (else they are emulated, slowly)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "svebf16", " bf16"))
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device's memory, or the machine's, did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
