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
    head_share: float,
    device: torch.device,
    dtype: torch.dtype,
    devices: int,
    peak_tflops: float | None,
) -> Throughput:
    """For `devices` devices like `device`, where a token attends to `attended` tokens on average and the head computes
    `head_share` of the positions.

    `peak_tflops` of one device goes before the table of known ones.
    """
    peak = peak_tflops * 1e12 if peak_tflops is not None else peak_flops(device, dtype)
    return Throughput(
        flops_per_token(config, vocab_size, attended, head_share), None if peak is None else devices * peak
    )


def mean_attended_length(dataset: Dataset, sequence_length: int, document_mask: bool) -> float:
    """To how many tokens, itself included, a token attends on average in rows of `sequence_length` tokens.

    Without a mask (T + 1) / 2. With it a token sees back to the start of its document or of its row, whichever comes
    first; documents begin at any place of a row.
    """
    if not document_mask:
        return (sequence_length + 1) / 2
    return attended_within(_lengths(dataset), sequence_length)


def attended_in_pieces(dataset: Dataset, sequence_length: int, frame: int) -> float:
    """To how many tokens, itself included, a token attends on average that sees all of its piece: a document's text cut
    to rows of `sequence_length` tokens, `frame` of which are not its own."""
    lengths = np.maximum(_lengths(dataset).astype(np.float64) - dataset.terminator_length, 0)
    room = sequence_length - frame
    whole, rest = lengths // room, lengths % room + frame
    tokens = (whole * sequence_length + rest).sum()
    return float((whole * sequence_length**2 + rest**2).sum() / max(1.0, tokens))


def _lengths(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Tokens of evenly spaced documents: a start must not read all of them."""
    every = max(1, dataset.documents // _DOCUMENTS)
    lengths = [shard.lengths[::every].astype(np.int64) for shard in dataset.shards]
    return np.concatenate([np.zeros(0, np.int64), *lengths])


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
