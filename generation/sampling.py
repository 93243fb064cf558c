"""From logits to token ids: pure functions, applied in the order and with the meaning of `transformers`.

Axes: B rows, V vocabulary. Logits are float32; a token that must not be chosen has logit -inf.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

NEVER = float("-inf")


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float | Tensor) -> Tensor:
    """Make the tokens `seen` less likely, each once however often it occurred.

    (B, V) and ids (B, n), which may come twice -> (B, V). `penalty` is one number or a column (B, 1). Positive logits
    are divided, negative ones multiplied (Keskar et al., 2019).
    """
    values = logits.gather(-1, seen)
    return logits.scatter(-1, seen, torch.where(values < 0, values * penalty, values / penalty))


def penalise_written(
    logits: Tensor, written: Tensor, counts: Tensor, presence: float | Tensor, frequency: float | Tensor
) -> Tensor:
    """Lower the logits of the tokens `written` by `presence`, and by `frequency` for each time (`counts`).

    (B, V), ids (B, n), counts (B, n) -> (B, V). An id that comes twice has the same count both times; a count of 0
    changes nothing. The penalties are numbers or columns (B, 1). OpenAI's formula (API reference, "frequency and
    presence penalties"), in which tokens of the prompt don't count.
    """
    lowered = logits.gather(-1, written) - counts * frequency - (counts > 0) * presence
    return logits.scatter(-1, written, lowered)


def ban_tokens(logits: Tensor, banned: Sequence[Collection[int]]) -> Tensor:
    """Forbid the ids `banned` of each row."""
    out = logits.clone()
    for row, ids in enumerate(banned):
        if ids:
            out[row, torch.tensor(list(ids), device=logits.device)] = NEVER
    return out


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Forbid all but the `k` likeliest tokens of each row, and those that tie with the last of them."""
    k = min(k, logits.shape[-1])
    threshold = logits.topk(k, dim=-1).values[..., -1:]  # (B, 1)
    return logits.masked_fill(logits < threshold, NEVER)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Forbid the unlikely tokens whose probabilities together stay within `1 - p`; one token always stays.

    Sorting dominates the cost, so only what earlier steps left possible is sorted.
    """
    possible = max(1, int((logits > NEVER).sum(dim=-1).max()))
    values, tokens = logits.topk(possible, dim=-1)  # (B, possible), likeliest first
    values, tokens = values.flip(-1), tokens.flip(-1)
    remove = values.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    remove[..., -1] = False
    out = torch.full_like(logits, NEVER)
    return out.scatter(-1, tokens, values.masked_fill(remove, NEVER))


def keep_min_p(logits: Tensor, share: float) -> Tensor:
    """Forbid the tokens less than `share` as likely as the likeliest one (Nguyen et al., 2024)."""
    chances = logits.softmax(dim=-1)
    return logits.masked_fill(chances < share * chances.amax(dim=-1, keepdim=True), NEVER)


def choose_greedily(logits: Tensor) -> Tensor:
    """The likeliest token of each row, the first of several: (B, V) -> (B,) int64. A row with NaN gives its place."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.detach().numpy().argmax(axis=-1))  # several times as fast as torch's
    return logits.argmax(dim=-1)


def chance_dtype(device: torch.device) -> torch.dtype:
    """The number format of chance on `device`: the widest there is."""
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64


def choose_at(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw from each row's distribution by inverting its cumulative sum at `uniforms` (B,) float64 in [0, 1).

    (B, V) -> (B,) int64. One number of chance a token keeps rows independent of each other. Forbidden tokens
    are never drawn: the cumulative sum does not rise there. A row that has a logit of infinity gives its place.
    """
    wide = chance_dtype(logits.device)
    cumulative = logits.softmax(dim=-1).to(wide).cumsum(dim=-1)  # (B, V)
    total = cumulative[:, -1:]
    # Rounding must not lift the product to the total, where nothing lies above it any more.
    point = torch.minimum(uniforms.to(wide)[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    chosen = torch.searchsorted(cumulative, point, right=True)[:, 0]
    # Logits near the end of float32 become infinite over a temperature, and chances NaN: nothing lies above those.
    return torch.where(chosen < logits.shape[-1], chosen, choose_greedily(logits))
