"""What a decoder makes of documents: nats a token, perplexity, and bits a byte, which tokenizers cannot blur.

`loss` counts every predicted token, the ends of documents among them, as training does. Bits are those of the text's
own tokens, over the bytes (characters) of that text: special tokens count in neither, so that models with other
tokenizers compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from foundation.errors import UserError
from model.decoder import Decoder
from model.head import summed_cross_entropy
from shards.token_stream import PackedBatch
from training.evaluation.documents import Document, Integers
from training.evaluation.windows import packed, windows_of


@dataclass
class Score:
    """Sums over documents. Nats are natural logarithms' units, in float64."""

    documents: int = 0
    text_tokens: int = 0
    special_tokens: int = 0
    text_nats: float = 0.0
    special_nats: float = 0.0
    text_bytes: int | None = 0
    """None once a document's text is not known from its tokens."""
    characters: int | None = 0

    @property
    def tokens(self) -> int:
        """All predicted tokens."""
        return self.text_tokens + self.special_tokens

    @property
    def loss(self) -> float:
        """Nats a predicted token."""
        return (self.text_nats + self.special_nats) / self.tokens

    def values(self) -> dict[str, float | int | None]:
        """The measures by name; the bits are None where the text is not known."""
        bits = self.text_nats / math.log(2)
        return {
            "documents": self.documents,
            "tokens": self.tokens,
            "text_tokens": self.text_tokens,
            "text_bytes": self.text_bytes,
            "characters": self.characters,
            "loss": self.loss,
            "perplexity": math.exp(min(self.loss, 700.0)),
            "bits_per_byte": bits / self.text_bytes if self.text_bytes else None,
            "bits_per_character": bits / self.characters if self.characters else None,
        }

    def read(self, document: Document) -> None:
        """Count a document; its tokens are counted where they are predicted."""
        self.documents += 1
        known = self.text_bytes is not None and document.text_bytes is not None
        self.text_bytes = (self.text_bytes or 0) + (document.text_bytes or 0) if known else None
        self.characters = (self.characters or 0) + (document.characters or 0) if known else None


@torch.no_grad()
def score(
    model: Decoder,
    special_ids: Iterable[int],
    documents: Iterable[Document],
    *,
    length: int,
    stride: int,
    batch_size: int,
    progress: Callable[[int], object] = lambda tokens: None,
) -> Score:
    """Measure `model` on `documents` in windows of `length` tokens that begin `stride` apart; memory is bounded.

    `progress` hears how many more tokens were predicted. `UserError` when there is nothing to predict, or
    the weights give no number.
    """
    total = Score()
    special = np.array(sorted(special_ids), np.int64)

    def read() -> Iterator[Document]:
        for document in documents:
            total.read(document)
            yield document

    windows = (window for document in read() for window in windows_of(document, length, stride))
    for batch in packed(windows, length, batch_size):
        before = total.tokens
        _add(total, model, batch, special)
        progress(total.tokens - before)
    if not total.tokens:
        raise UserError("there is no token to predict: the texts are empty; give others")
    if not math.isfinite(total.loss):
        raise UserError(f"the model's loss is {total.loss}: its weights hold numbers that are none; take another model")
    return total


def _add(total: Score, model: Decoder, batch: PackedBatch, special: Integers) -> None:
    """The head computes the counted positions only, those of text and those of special tokens apart."""
    device = model.device
    segments = torch.from_numpy(batch.pieces).to(device)
    hidden = model.hidden(torch.from_numpy(batch.inputs).to(device), segments=segments).flatten(0, 1)  # (B * T, C)
    targets = batch.next_tokens.ravel()
    is_special = np.isin(targets, special)
    for which in (False, True):
        places = np.flatnonzero((targets >= 0) & (is_special == which))
        if not len(places):
            continue
        picked, wanted = torch.from_numpy(places).to(device), torch.from_numpy(targets[places]).to(device)
        nats = float(summed_cross_entropy(hidden[picked], model.head_weight, wanted, model.vocab_size)[0])
        if which:
            total.special_nats, total.special_tokens = total.special_nats + nats, total.special_tokens + len(places)
        else:
            total.text_nats, total.text_tokens = total.text_nats + nats, total.text_tokens + len(places)
