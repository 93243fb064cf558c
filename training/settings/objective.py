"""What the model is trained for, and what of a text is hidden from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from training.settings.base import Settings


class ObjectiveSettings(Settings):
    """The task, and the masking of those that guess masked tokens (Devlin et al. 2019, section 3.1)."""

    task: Literal["causal", "chat", "mlm", "mlm_nsp", "classify"] = Field(
        "causal",
        description="causal: predict the next token (decoders); chat: only where an assistant speaks; mlm: guess "
        "masked tokens; mlm_nsp: and whether one sentence follows another; classify: tell the labels of documents",
    )
    chat_plain_text: bool = Field(
        False,
        description="the task chat also learns the documents that are no conversations, every token of them; false: "
        "it leaves them out",
    )
    mlm_probability: float = Field(
        0.15, gt=0, lt=1, description="share of the tokens that the tasks mlm and mlm_nsp have guessed, anew each epoch"
    )
    mask_replace_prob: float = Field(
        0.8, ge=0, le=1, description="share of the tokens to guess that the mask token stands in for"
    )
    random_replace_prob: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the tokens to guess that a random token stands in for; the rest stay as they are",
    )
    whole_word_mask: bool = Field(False, description="choose the tokens to guess by whole words")

    def problems(self) -> Sequence[str]:
        """Shares that are more than everything."""
        if self.mask_replace_prob + self.random_replace_prob > 1 + 1e-9:
            return [
                f"mask_replace_prob {self.mask_replace_prob:g} and random_replace_prob {self.random_replace_prob:g} "
                "are more than 1 together; lower one of them"
            ]
        return ()
