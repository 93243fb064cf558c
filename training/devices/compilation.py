"""Whether and how to compile the model."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from foundation.errors import first_line
from foundation.logs import get_logger

log = get_logger("training")

# Shapes that a function is compiled for; torch's own limit is 8, and it runs further ones uncompiled. Training and
# validation have a few each: the sizes of documents' borders go by powers of two, last rows are fewer.
SHAPES = 64
LONG_RUN = 3600.0
"""Seconds of a run on a CPU that earn back what the compiler takes before the first step and at each new shape."""


def compiled(
    module: nn.Module, choice: bool | None, device: torch.device, parts: Sequence[nn.Module] = ()
) -> nn.Module:
    """`module`, compiled when `choice` says so (None: the machine decides) and the machine has what it takes.

    None compiles on CUDA only: on a CPU the first step waits tens of seconds for the C++ compiler, which a short run
    does not earn back. A long one is told so (`advice`) and not compiled unasked: how long a run is to be must not
    change its numbers. Parameters stay the same objects; state dicts come from the plain module. Where there are
    `parts`, they are compiled, each for itself and in place, and the rest of the module stays as it is.
    """
    if choice is False or (choice is None and device.type != "cuda"):
        return module
    missing = _missing(device)
    if missing:
        log.warning("compile: %s; training runs uncompiled", missing)
        return module
    log.info("compiling the model; the first step takes longer")
    import torch._dynamo.config as dynamo  # compilers take seconds to import; most runs on a CPU do without
    import torch._functorch.config as functorch

    dynamo.recompile_limit = max(dynamo.recompile_limit, SHAPES)
    # Backward is compiled along with forward. Left for later, its compiler would fail where other processes wait for
    # this one's gradients.
    if hasattr(functorch, "force_non_lazy_backward_lowering"):
        functorch.force_non_lazy_backward_lowering = True
    if not parts:
        return Compiled(module)
    switch = Switch()
    for part in parts:
        part.forward = Attempt(part.forward, switch)
    return module


def advice(choice: bool | None, device: torch.device, seconds: float) -> str | None:
    """What to say before a run of so many seconds that `choice` leaves uncompiled though it would pay; else None."""
    if choice is not None or device.type != "cpu" or seconds < LONG_RUN or _missing(device):
        return None
    return "--compile auto leaves a CPU uncompiled; a run this long mostly earns back what --compile true takes first"


def forget_compiled() -> None:
    """Drop all compiled code of the process: what one run compiled counts against the shapes of the next."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


class Switch:
    """Whether the compiled parts of a module run compiled. Off, it stays off."""

    reason: str | None = None
    """Why it is off, in one line."""

    @property
    def on(self) -> bool:
        """Whether nothing has failed."""
        return self.reason is None

    def turn_off(self, reason: str) -> None:
        """Run uncompiled from now on, with one warning."""
        if self.on:
            log.warning("torch.compile failed (%s); training goes on uncompiled", reason)
            self.reason = reason


class Compiled(nn.Module):
    """A module that runs compiled, or as it is from the moment on that the compiler fails on it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.plain, self._attempt = module, Attempt(module.forward, Switch())
        self.switch = self._attempt.switch

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module gives."""
        return self._attempt(*inputs, **options)


class Attempt:
    """A forward function that runs compiled as long as `switch` is on; a compiler that fails turns it off."""

    def __init__(self, plain: Callable[..., Any], switch: Switch) -> None:
        from torch._dynamo.exc import TorchDynamoException

        self.switch = switch
        self._plain, self._failure = plain, TorchDynamoException
        self._run: Callable[..., Any] = torch.compile(plain, dynamic=False)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the function gives."""
        if not self.switch.on:
            return self._plain(*inputs, **options)
        try:
            return self._run(*inputs, **options)
        except self._failure as error:
            self.switch.turn_off(first_line(error))
        # Compilation fails before anything has run: the same call is made again, uncompiled.
        return self._plain(*inputs, **options)


def switch_of(module: nn.Module) -> Switch | None:
    """The switch of what `compiled` made of the module or of parts of it; None: nothing is compiled."""
    for part in module.modules():
        if isinstance(part, Compiled):
            return part.switch
        if isinstance(part.forward, Attempt):
            return part.forward.switch
    return None


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
