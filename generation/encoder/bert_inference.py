"""`BertInference`: the class that BERT2's scripts call, with its methods and what they return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from foundation.logs import get_logger
from generation.encoder.abilities import CLASSIFY, EMBED, FILL
from generation.encoder.text import TextEncoder

LOG = get_logger("generation")
KINDS = {"pretraining": FILL, "classification": CLASSIFY, "embedding": EMBED}


class BertInference:
    """A model and what is asked of it.

    `path` is a model directory (ours or a Hugging Face one), a run directory or a checkpoint. `kind` says what it is
    for: "pretraining" (masks), "classification" or "embedding" (similarity and vectors only); BERT2 called it
    `model_type`. `UserError`, a `ValueError`, where the model can't do that, and for methods of another kind.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        kind: str = "pretraining",
        *,
        model_type: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 16,
    ) -> None:
        self.kind = kind if model_type is None else model_type
        if self.kind not in KINDS:
            raise UserError(f"kind: {self.kind!r} is not known; use {', '.join(KINDS)}")
        self.encoder = TextEncoder.from_path(path, device, dtype, batch_size)
        self.encoder.require(KINDS[self.kind])
        self.model, self.tokenizer = self.encoder.model, self.encoder.tokenizer

    def predict_masked_tokens(self, text: str, top_k: int = 5) -> list[dict[str, Any]]:
        """For each mask {"position", "predictions": [{"token", "probability", "token_id", "logit"}]}, the likeliest
        first; nothing, and a warning, for a text without a mask."""
        self._expect("pretraining")
        masks = self.encoder.fill_mask(text, top_k)
        if not masks:
            LOG.warning("no %s in the text: nothing to predict", self.encoder.mask_name)
        return [
            {
                "position": mask.position,
                "predictions": [
                    {"token": g.token, "probability": g.probability, "token_id": g.token_id, "logit": g.logit}
                    for g in mask.predictions
                ],
            }
            for mask in masks
        ]

    def classify_text(self, text: str) -> dict[str, Any]:
        """{"predicted_class" (a number), "confidence", "all_probabilities" (by number), "label"}."""
        self._expect("classification")
        found = self.encoder.classify([text])[0]
        return {
            "predicted_class": found.predicted_class,
            "confidence": found.confidence,
            "all_probabilities": list(found.probabilities.values()),
            "label": found.label,
        }

    def compute_text_similarity(self, text1: str, text2: str) -> float:
        """The cosine between the texts' mean hidden states. (BERT2 took the pooler's output, which says little unless
        it was trained for it.)"""
        return self.encoder.similarity(text1, text2)

    def extract_embeddings(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """The texts' mean hidden states, (texts, width) float32."""
        return self.encoder.embed(texts)

    def _expect(self, kind: str) -> None:
        if self.kind != kind:
            raise UserError(f"this BertInference was made for {self.kind!r}; make one with kind {kind!r} for that")
