"""Cross entropy of a language model's head."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, linear

IGNORED = -100  # targets with this value are not predicted


def summed_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int
) -> tuple[Tensor, Tensor]:
    """Summed nats (float32 scalar) and count (int64 scalar) of the targets that are not -100.

    hidden (B, T, C), head weight (at least V, C), targets (B, T) int64.
    """
    logits = linear(hidden.flatten(0, 1), weight)[:, :vocab_size].float()  # (B*T, V)
    flat = targets.flatten()
    return cross_entropy(logits, flat, ignore_index=IGNORED, reduction="sum"), (flat != IGNORED).sum()
