"""Statistics of a dataset: lengths, compression, entropy. Pure functions of its content."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shards.manifest import SplitEntry

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def unigram_entropy(counts: npt.NDArray[np.integer]) -> float:
    """Entropy in nats of the distribution given by token counts (V,): the loss of the best model without context."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum()) if len(shares) else 0.0


def split_statistics(entry: SplitEntry, lengths: npt.NDArray[np.integer]) -> dict[str, Any]:
    """Counts of one split and the quantiles of its document lengths in tokens."""
    quantiles = np.quantile(lengths, QUANTILES, method="lower").tolist() if len(lengths) else []
    return {
        "documents": entry.documents,
        "tokens": entry.tokens,
        "text_bytes": entry.text_bytes,
        "bytes_per_token": round(entry.text_bytes / entry.tokens, 4) if entry.tokens else None,
        "document_tokens": {f"p{int(q * 100)}": int(v) for q, v in zip(QUANTILES, quantiles, strict=False)},
    }
