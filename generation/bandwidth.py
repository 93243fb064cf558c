"""How fast this machine reads a model's weights: what bounds the tokens a second of a small batch."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import torch
from torch import Tensor

from foundation.device import is_out_of_memory
from generation.engine.native import building
from model.base import LanguageModel

ROUNDS, SECONDS = 5, 0.3
WORDS = 2**28  # float32 numbers that a GPU reads: 1 GiB, far more than its caches hold


@torch.inference_mode()
def read_bandwidth(model: LanguageModel, compiled: bool = True) -> float:
    """Bytes a second at which `model`'s own weights can be read where they lie: the best of a few sums over all of them
    by as many threads as torch uses, with the engine's own kernels where it has them and they are to be `compiled`.
    Takes up to a third of a second, of large models one sum.

    Weights that fit a CPU's cache are read from there, as generation reads them. A GPU, where sums of a model's many
    small tensors would measure how fast kernels start, reads one large tensor of its own.
    """
    device = next(model.parameters()).device
    words = _weights(model) if device.type == "cpu" else [_large(device)]
    size = sum(w.nbytes for w in words)
    read = _reader(compiled and device.type == "cpu")
    best, begun = float("inf"), time.perf_counter()
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for w in words:
            read(w)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        end = time.perf_counter()
        best = min(best, end - start)
        if end - begun > SECONDS:
            break
    return size / best


def _weights(model: LanguageModel) -> list[Tensor]:
    flat = [weight.detach().reshape(-1) for weight in model.parameters()]
    # Sums of halves would be bound by their conversion: the same bytes are read as float32.
    return [w[: w.numel() // 2 * 2].view(torch.float32) if w.element_size() == 2 else w for w in flat]


def _large(device: torch.device) -> Tensor:
    """A tensor of `WORDS` numbers, of fewer where memory is short."""
    count = WORDS
    while count > 1:
        try:
            return torch.zeros(count, device=device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            count //= 4
    return torch.zeros(1, device=device)


def _reader(kernels: bool) -> Callable[[Tensor], object]:
    """What reads a float32 tensor through. Torch's own sum does not look ahead and so reads more slowly on a CPU."""
    library = building.library() if kernels else None
    if library is None:
        return Tensor.sum
    read_all, threads = library.read_all, ctypes.c_int64(torch.get_num_threads())
    read_all.restype = ctypes.c_float
    return lambda words: read_all(ctypes.c_void_p(words.data_ptr()), ctypes.c_int64(words.numel()), threads)
