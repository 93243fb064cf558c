"""An encoder's answers as lines for people and as values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from generation.encoder.results import Classification, FilledMask


def masks_text(masks: Sequence[FilledMask]) -> str:
    """Each mask with its answers, one a line."""
    lines = []
    for mask in masks:
        lines.append(f"[MASK] at position {mask.position}:")
        lines += [f"  {_visible(g.token)}: logit={g.logit:.3f}, prob={g.probability:.6f}" for g in mask.predictions]
    return "\n".join(lines)


def masks_line(masks: Sequence[FilledMask]) -> str:
    """The answers to all masks in one line."""
    shown = (" · ".join(f"{_visible(g.token)} {g.probability:.3f}" for g in mask.predictions) for mask in masks)
    return " | ".join(shown)


def masks_values(text: str, masks: Sequence[FilledMask]) -> dict[str, Any]:
    """{"text", "masks": [{"position", "predictions": [{"token", "token_id", "logit", "probability"}]}]}."""
    return {"text": text, "masks": [asdict(mask) for mask in masks]}


def classification_text(found: Classification) -> str:
    """The class, then the probability of each."""
    kind = "calibrated" if found.calibrated else "not calibrated"
    lines = [f"{found.label}: {found.confidence:.4f} ({kind})"]
    ranked = sorted(found.probabilities.items(), key=lambda item: -item[1])
    return "\n".join([*lines, *(f"  {label}: {share:.4f}" for label, share in ranked)])


def classified(found: Classification) -> dict[str, Any]:
    """{"label", "predicted_class", "confidence", "probabilities", "calibrated"}."""
    return asdict(found)


def _visible(token: str) -> str:
    """A token with what could not be seen in a line: blanks inside quotation marks."""
    bare = token.strip()
    return bare if bare and "\n" not in bare else repr(token)
