"""What a start of a run says about itself in history.jsonl. Nothing that is computed depends on it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import Any

import torch

from foundation.circumstances import machine, typed

_PACKAGES = ("torch", "numpy", "tokenizers", "safetensors")


def circumstances(device: torch.device) -> dict[str, Any]:
    """Command, machine, device and versions of this process, as plain values."""
    return {
        "command": typed(sys.orig_argv),
        "machine": machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions that a run's numbers may depend on."""
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # installed in a way that left no record
            continue
    if torch.version.cuda:
        found["CUDA"] = torch.version.cuda
    return found
