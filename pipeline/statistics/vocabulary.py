"""How the published text uses the vocabulary: tokens that occur, the most frequent ones, the unknown token."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenization.tokenizer import Tokenizer

FREQUENT = 100
RARE = 10
_COVERED = (0.5, 0.9, 0.99)
_POINTS_PER_DECADE = 12


def unigram_entropy(counts: npt.NDArray[np.integer]) -> float:
    """Entropy in nats of the distribution given by token counts (V,): the loss of the best model without context."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum()) if len(shares) else 0.0


def describe_vocabulary(counts: npt.NDArray[np.int64], tokenizer: Tokenizer) -> dict[str, Any]:
    """The use of the vocabulary from the occurrences of each token, `counts` (V,)."""
    total = int(counts.sum())
    order = np.argsort(-counts, kind="stable")
    ranked = counts[order]
    used = int((counts > 0).sum())
    covered = np.cumsum(ranked)
    unknown = tokenizer.roles.unk
    return {
        "size": len(counts),
        "used": used,
        "used_share": round(used / max(1, len(counts)), 6),
        f"used_fewer_than_{RARE}_times": int(((counts > 0) & (counts < RARE)).sum()),
        "unknown_tokens": None if unknown is None else int(counts[unknown]),
        "unknown_rate": None if unknown is None else round(int(counts[unknown]) / max(1, total), 8),
        "tokens_that_cover": {
            f"{share:.0%}": int(np.searchsorted(covered, share * total)) + 1 for share in _COVERED if total
        },
        "most_frequent": [_token(tokenizer, int(n), int(counts[n])) for n in order[: min(FREQUENT, used)]],
        "occurrences_by_rank": [[int(rank), int(ranked[rank - 1])] for rank in _ranks(used)],
    }


def _ranks(last: int) -> list[int]:
    """Ranks from 1 to `last`, evenly spaced on a logarithmic axis."""
    if not last:
        return []
    points = max(2, int(_POINTS_PER_DECADE * np.log10(last)) + 1)
    return [int(rank) for rank in np.unique(np.geomspace(1, last, points).round().astype(np.int64))]


def _token(tokenizer: Tokenizer, number: int, count: int) -> dict[str, Any]:
    """One token: its name in the vocabulary, and its text unless it is only a piece of a character."""
    name = tokenizer.id_to_token(number) or ""
    text = name.replace("▁", " ") if "▁" in name else tokenizer.decode([number], skip_special=False)
    return {"id": number, "token": name, "text": None if "\ufffd" in text else text, "count": count}
