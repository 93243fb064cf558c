"""Weights in eight bits: each row of a matrix has its own scale, activations stay as they are."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from model.decoder import Decoder

LARGEST = 127


@dataclass(frozen=True)
class Int8:
    """The matrices of a decoder in int8; embeddings, norms and biases keep their format."""

    weights: dict[nn.Linear | str, tuple[Tensor, Tensor]]
    """By layer, and under "head": (rows, columns) int8 and the rows' scales (rows,) float32."""

    @classmethod
    @torch.no_grad()
    def of(cls, model: Decoder) -> Int8:
        """Quantize a decoder's matrices; its own weights stay as they are."""
        linears = [module for module in model.model.modules() if isinstance(module, nn.Linear)]
        weights: dict[nn.Linear | str, tuple[Tensor, Tensor]] = {each: quantize(each.weight) for each in linears}
        return cls(weights | {"head": quantize(model.head_weight)})


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns) of any float format -> int8 and float32 (rows,): weight ≈ int8 * scale, row by row.

    Symmetric, rounded to nearest; no number is off by more than half a scale (Dettmers et al., 2022, section 2.1).
    """
    exact = weight.float()
    scale = exact.abs().amax(dim=1) / LARGEST  # (rows,)
    rounded = (exact / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round()
    return rounded.clamp(-LARGEST, LARGEST).to(torch.int8), scale


class Int8Linear(nn.Module):
    """A layer over int8 weights: they are widened as they are read, where a compiler fuses the two."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.scale, self.bias = weight, scale, bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., columns) -> (..., rows)."""
        out = linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return out if self.bias is None else out + self.bias


class Int8Decoder(Decoder):
    """A decoder whose head is a layer of its own."""

    int8_head: Int8Linear

    def head(self, hidden: Tensor) -> Tensor:
        """As `Decoder.head`."""
        logits: Tensor = self.int8_head(hidden)[..., : self.vocab_size]
        return logits


def with_int8(model: Decoder, quantized: Int8) -> Decoder:
    """A decoder over the int8 matrices that shares all else with `model`."""
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared)
    originals, places = dict(model.model.named_modules()), dict(twin.model.named_modules())
    for name, original in originals.items():
        if isinstance(original, nn.Linear):
            parent, _, attribute = name.rpartition(".")
            setattr(places[parent], attribute, Int8Linear(*quantized.weights[original], original.bias))
    twin.__class__ = Int8Decoder
    assert isinstance(twin, Int8Decoder)
    twin.int8_head = Int8Linear(*quantized.weights["head"], None)
    return twin
