"""Modules without weights: their shapes alone, on the device `meta`, until they are filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)


class _NoStart(TorchFunctionMode):
    """Leaves out `torch.nn.init`: there is nothing to start, and its noise on `meta` is made by code whose import
    (torch._refs, sympy, the compiler) takes longer than a small model's loading."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def unfilled() -> Iterator[None]:
    """Inside, modules are made without memory and without values (see `with_memory`)."""
    with torch.device("meta"), _NoStart():
        yield


def with_memory(module: Module, device: torch.device | str) -> Module:
    """`module`, made unfilled, with memory on `device` for every tensor, whose values are anything.

    As `torch.nn.Module.to_empty`, but for `torch.empty_like`, which on `meta` imports what `_NoStart` avoids.
    """
    module._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device))  # type: ignore[no-untyped-call]
    return module
