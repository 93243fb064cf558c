"""How fast this machine reads a model's weights: what bounds the tokens a second of a small batch."""

from __future__ import annotations

import time

import torch

from model.base import LanguageModel

ROUNDS, SECONDS = 5, 0.3


@torch.inference_mode()
def read_bandwidth(model: LanguageModel) -> float:
    """Bytes a second at which `model`'s own weights can be read where they lie: the best of a few plain sums over all
    of them, by as many threads as torch uses. Takes up to a third of a second, of large models one sum.

    Weights that fit a cache are read from there, as generation reads them.
    """
    flat = [weight.detach().reshape(-1) for weight in model.parameters()]
    # Sums of halves would be bound by their conversion: the same bytes are read as float32.
    words = [w[: w.numel() // 2 * 2].view(torch.float32) if w.element_size() == 2 else w for w in flat]
    size = sum(w.nbytes for w in words)
    cuda = any(w.is_cuda for w in words)
    best, begun = float("inf"), time.perf_counter()
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for w in words:
            w.sum()
        if cuda:
            torch.cuda.synchronize()
        end = time.perf_counter()
        best = min(best, end - start)
        if end - begun > SECONDS:
            break
    return size / best
