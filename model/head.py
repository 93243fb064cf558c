"""The output head: hidden states to logits, or straight to a loss without all logits in memory at once.

Axes: N positions, C width, V vocabulary. The head's matrix may have more rows than V; logits never show them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint

from model import head_gradients
from model.head_gradients import IGNORED

# Logits computed at a time. On a CPU a piece should stay in the cache (16 MB of float32). Elsewhere, and under
# torch.compile, which repeats the code of each, pieces only bound memory.
CPU_PIECE, PIECE = 2**22, 2**28
# With more logits than this (1 GiB of float32), backward computes them again instead of keeping them, where it is not
# `model.head_gradients` that serves: in float16, on Apple GPUs.
KEPT_LOGITS = 2**28

# MKL's float32 matrix-vector product reads memory slowly; for a few positions and a large matrix the same
# product as a batch of blocks is 2 to 5 times as fast (measured on x86: 32,000 x 512, 6.2 ms against 2.1).
BLOCKS, FEW_POSITIONS, LARGE_MATRIX = 16, 4, 2**22


def logits_of(hidden: Tensor, weight: Tensor, vocab_size: int, bias: Tensor | None = None) -> Tensor:
    """Logits (..., V) for hidden states (..., C), the head's matrix (at least V, C) and its bias (at least V,)."""
    positions = hidden.numel() // hidden.shape[-1]
    blocks = (
        hidden.device.type == "cpu"
        and hidden.dtype == weight.dtype == torch.float32
        and 0 < positions <= FEW_POSITIONS
        and weight.numel() >= LARGE_MATRIX
        and weight.shape[0] % BLOCKS == 0
        and not torch.is_autocast_enabled("cpu")
    )
    if not blocks:
        return _without_padding(linear(hidden, weight, bias), vocab_size)
    rows = weight.view(BLOCKS, -1, weight.shape[1])  # (16, V/16, C)
    columns = hidden.reshape(positions, -1).t().expand(BLOCKS, -1, -1)  # (16, C, N)
    logits = torch.bmm(rows, columns).flatten(0, 1).t()  # (N, V)
    if bias is not None:
        logits = logits + bias
    return _without_padding(logits.reshape(*hidden.shape[:-1], -1), vocab_size)


def summed_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Summed nats (scalar, float32 at least) and count (int64 scalar) of the targets that are not -100.

    hidden (..., C), the head's matrix (at least V, C) and bias (at least V,), targets (...) int64.
    """
    flat, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.flatten()
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    if head_gradients.serves(hidden, weight, dtype):
        return head_gradients.summed_nats(flat, weight, wanted, vocab_size, dtype, bias), (wanted != IGNORED).sum()
    on_cpu = hidden.device.type == "cpu" and not torch.compiler.is_compiling()
    piece = max(1, (CPU_PIECE if on_cpu else PIECE) // weight.shape[0])
    recompute = torch.is_grad_enabled() and flat.shape[0] * weight.shape[0] > KEPT_LOGITS
    total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
    for part, part_targets in zip(torch.split(flat, piece), torch.split(wanted, piece), strict=True):
        if recompute:
            nats: Tensor = checkpoint(
                _piece_loss,
                part,
                weight,
                part_targets,
                vocab_size,
                bias,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        else:
            nats = _piece_loss(part, weight, part_targets, vocab_size, bias)
        total = total + nats
    return total, (wanted != IGNORED).sum()


def _without_padding(logits: Tensor, vocab_size: int) -> Tensor:
    """The first `vocab_size` columns. Even a slice of everything would cost a copy in backward."""
    return logits if logits.shape[-1] == vocab_size else logits[..., :vocab_size]


def _piece_loss(hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int, bias: Tensor | None) -> Tensor:
    logits = _without_padding(linear(hidden, weight, bias), vocab_size)  # (N, V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
