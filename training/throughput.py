"""How fast a run is: tokens per second, and the share of its devices' peak rate that they amount to (MFU)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.config import ModelConfig
from model.costs import flops_per_token
from shards.dataset import Dataset
from training.devices.peaks import peak_flops

_DOCUMENTS = 2_000  # lengths of so many documents are enough for a mean


@dataclass(frozen=True)
class Throughput:
    """`flops_per_token` of one step; `peak` is what all devices together could do in a second, None where unknown."""

    flops_per_token: float
    peak: float | None

    def columns(self, tokens: int, seconds: float) -> dict[str, Any]:
        """What a row says about `tokens` that took `seconds`: `tokens_per_second`, and `mfu` where it is known."""
        speed = tokens / max(seconds, 1e-9)
        columns = {"tokens_per_second": round(speed, 1)}
        if self.peak is not None:
            columns["mfu"] = round(speed * self.flops_per_token / self.peak, 4)
        return columns


def throughput(
    config: ModelConfig,
    vocab_size: int,
    attended: float,
    device: torch.device,
    dtype: torch.dtype,
    devices: int,
    peak_tflops: float | None,
) -> Throughput:
    """For `devices` devices like `device`, where a token attends to `attended` tokens on average.

    `peak_tflops` of one device goes before the table of known ones.
    """
    peak = peak_tflops * 1e12 if peak_tflops is not None else peak_flops(device, dtype)
    return Throughput(flops_per_token(config, vocab_size, attended), None if peak is None else devices * peak)


def mean_attended_length(dataset: Dataset, sequence_length: int, document_mask: bool) -> float:
    """To how many tokens, itself included, a token attends on average in rows of `sequence_length` tokens.

    Without a mask (T + 1) / 2. With it a token sees back to the start of its document or of its row, whichever comes
    first; documents begin at any place of a row.
    """
    if not document_mask:
        return (sequence_length + 1) / 2
    every = max(1, dataset.documents // _DOCUMENTS)  # evenly spaced ones of many: a start must not read them all
    return attended_within(np.concatenate([shard.lengths[::every] for shard in dataset.shards]), sequence_length)


def attended_within(lengths: npt.ArrayLike, sequence_length: int) -> float:
    """The mean for documents of these lengths: the token at place i of its document and place u of its row, which is
    uniform, attends to min(i, u) + 1 tokens."""
    length, rows = np.asarray(lengths, dtype=np.float64), float(sequence_length)
    if not length.sum():
        return (rows + 1) / 2
    early = np.minimum(length, rows)  # places of the document that a row's start may or may not cut off
    first, second = early * (early - 1) / 2, (early - 1) * early * (2 * early - 1) / 6  # sums of i and of i squared
    seen = first - (first + second) / (2 * rows) + (length - early) * (rows - 1) / 2
    return float((seen + length).sum() / length.sum())
