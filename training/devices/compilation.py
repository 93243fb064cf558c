"""Whether and how to compile the model."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import nn

from foundation.logs import get_logger

log = get_logger("training")


def compiled(module: nn.Module, choice: bool | None, device: torch.device) -> nn.Module:
    """`module`, compiled when `choice` says so (None: the machine decides) and the machine has what it takes.

    None compiles on CUDA only: on a CPU the first step waits tens of seconds for the C++ compiler, which a
    short run does not earn back. Parameters stay the same objects; state dicts come from the plain module.
    """
    if choice is False or (choice is None and device.type != "cuda"):
        return module
    missing = _missing(device)
    if missing:
        log.warning("compile: %s; training runs uncompiled", missing)
        return module
    log.info("compiling the model; the first step takes longer")
    optimized: nn.Module = torch.compile(module, dynamic=False)  # type: ignore[assignment]
    return optimized


def _missing(device: torch.device) -> str | None:
    """What torch.compile lacks for `device` on this machine, in words; None when it has everything."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "Triton is not installed"
    if device.type == "mps":
        return "not supported on Apple GPUs"
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) or shutil.which("clang++"):
        return None
    return f"no C++ compiler here (looked for {compiler} and clang++)"
