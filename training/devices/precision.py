"""Number formats: autocast around the forward pass, and the loss scale that float16 needs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def set_tf32(allowed: bool, device: torch.device) -> None:
    """Whether float32 matrices are multiplied in TF32, on CUDA devices; other devices have no such format."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if allowed else "highest")


class Precision:
    """What the loop needs to know about its number format. Weights, gradients and moments stay in float32."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self.scaler = self._new_scaler()

    def _new_scaler(self) -> torch.amp.GradScaler:
        # Disabled, a GradScaler passes everything through: the loop needs no second path.
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def set_scale(self, saved: Mapping[str, Any]) -> None:
        """Go on with the loss scale of a scaler's `state_dict()`, and with nothing of a step that did not end."""
        self.scaler = self._new_scaler()
        if saved and self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(saved))

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products in the format, everything delicate in float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def overflow_is_normal(self) -> bool:
        """Whether a gradient that is not finite only says that float16's loss scale was too high.

        The scale starts at 65536 and halves at each overflow; below 1 it no longer explains anything.
        """
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0
