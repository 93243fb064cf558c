"""A copy of a run's state in the machine's own memory, so that the run can go on while it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """Copies nested dicts, lists and tuples with their tensors. The memory is kept and used again by the next copy, so
    that one copy is alive at a time; that of a GPU's tensors is pinned, so that they come at the bus's full speed."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[object, ...], Tensor] = {}
        self._seen: dict[tuple[object, ...], Tensor] = {}

    def take(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """`content` with every tensor (any device and dtype) on the CPU, none shared with the live state. Tensors that
        are one in `content` (tied weights) are one in the copy. Waits for the device once."""
        self._seen = {}
        copied: dict[str, Any] = self._copy(dict(content), ())
        devices = {device for device in (key[0] for key in self._seen) if device is not None}
        for device in devices:
            torch.cuda.synchronize(device)  # type: ignore[arg-type]
        self._seen = {}
        return copied

    def _copy(self, value: Any, path: tuple[object, ...]) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value.detach(), path)
        if isinstance(value, Mapping):
            return {key: self._copy(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._copy(item, (*path, place)) for place, item in enumerate(value))
        return value

    def _tensor(self, tensor: Tensor, path: tuple[object, ...]) -> Tensor:
        device = tensor.device if tensor.is_cuda else None
        same = (device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and same in self._seen:
            return self._seen[same]
        buffer = self._buffers.get(path)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[path] = buffer
        buffer.copy_(tensor, non_blocking=tensor.is_cuda)  # MPS would not wait either, and `take` waits for CUDA alone
        self._seen[same] = buffer
        return buffer
