"""What a model computed must be numbers: overflow in half precision and broken weights are named, never shown."""

from __future__ import annotations

from torch import Tensor

from foundation.errors import UserError


def check_finite(values: Tensor, what: str) -> None:
    """`UserError` unless all `values`, the model's `what`, are numbers. Reads the device."""
    if not bool(values.isfinite().all()):
        raise UserError(
            f"the model's {what} are not numbers (NaN or infinite): its weights are broken, or too large for half "
            "precision; try --dtype float32, or another checkpoint"
        )
