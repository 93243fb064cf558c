"""Texts in, answers out: the Python API of encoders.

N texts of a chunk, M masks, C width, V vocabulary, L classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from foundation.device import pick_device, pick_dtype
from foundation.errors import UserError
from generation.encoder.abilities import CLASSIFY, EMBED, FILL, Ability, require
from generation.encoder.packing import Rows, pack
from generation.encoder.pieces import Framer, Piece
from generation.encoder.results import Classification, FilledMask, Guess
from generation.finite import check_finite
from generation.loading import TrainedModel, load_trained
from model.base import LanguageModel
from model.encoder.encoder import Encoder, mean_of_pieces
from model.head import logits_of
from tokenization.tokenizer import Tokenizer
from tokenization.truncation import Truncation

CHUNK = 64  # times the batch size: texts that are packed together


class TextEncoder:
    """An encoder and its tokenizer.

    `mateconv` is what the model's config.json says under that key: how long the texts of its training were and how
    they were cut, and a classifier's temperature. `source` names the model in messages.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        mateconv: Mapping[str, Any] | None = None,
        source: Path | None = None,
        batch_size: int = 16,
    ) -> None:
        require(EMBED, model, source)
        assert isinstance(model, Encoder)
        if tokenizer.vocab_size > model.vocab_size:
            raise UserError(
                f"{tokenizer.where}: the tokenizer has {tokenizer.vocab_size} tokens, but the model knows "
                f"{model.vocab_size}; use the tokenizer the model was trained with"
            )
        self.model, self.tokenizer, self.source = model.eval(), tokenizer, source
        self._rows = batch_size
        ours = mateconv or {}
        self._framer = _framer(tokenizer, model.config.max_position_embeddings, ours)
        given = ours.get("temperature")
        self._calibrated = isinstance(given, (int, float)) and given > 0
        self._temperature = float(given) if self._calibrated and given is not None else 1.0

    @classmethod
    def from_path(
        cls, path: Path | str | None = None, device: str = "auto", dtype: str = "auto", batch_size: int = 16
    ) -> TextEncoder:
        """Load a model directory, a run directory or a .pth checkpoint; None: the newest model under out/."""
        where = pick_device(device)
        loaded = load_trained(None if path is None else Path(path), where, pick_dtype(dtype, where))
        return cls.from_trained(loaded, batch_size)

    @classmethod
    def from_trained(cls, loaded: TrainedModel, batch_size: int = 16) -> TextEncoder:
        """Take a model that was loaded."""
        return cls(
            loaded.model, loaded.tokenizer, mateconv=loaded.mateconv, source=loaded.source, batch_size=batch_size
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, by number; none without a classifier."""
        return self.model.heads.labels

    @property
    def fills_masks(self) -> bool:
        """Whether the model has the head for it."""
        return self.model.heads.mlm

    @property
    def mask_name(self) -> str:
        """How the tokenizer spells the mask token (`[MASK]` is understood as well)."""
        return self._framer.masked.name

    def require(self, ability: Ability) -> None:
        """`UserError` where the model can't do it."""
        require(ability, self.model, self.source)

    def fill_mask(self, text: str, top_k: int = 5) -> list[FilledMask]:
        """The `top_k` likeliest tokens for every mask in `text`, in order; nothing where there is no mask."""
        return self.fill_masks([text], top_k)[0]

    @torch.inference_mode()
    def fill_masks(self, texts: Sequence[str], top_k: int = 5) -> list[list[FilledMask]]:
        """`fill_mask` of several texts, read together."""
        self.require(FILL)
        pieces = [self._framer.frame_masked(text) for text in texts]
        found: list[list[FilledMask]] = [[] for _ in texts]
        asked = [number for number, piece in enumerate(pieces) if piece.masks]
        for rows, hidden in self._read([pieces[number] for number in asked]):
            owners, flat = [], []
            for start, which in zip(rows.places.tolist(), rows.which, strict=True):
                for mask in pieces[asked[which]].masks:
                    owners.append((asked[which], mask))
                    flat.append(start + mask)
            picked = hidden.flatten(0, 1)[torch.tensor(flat, device=hidden.device)]  # (M, C)
            logits = self._mask_logits(picked)  # (M, V)
            values, tokens = logits.topk(min(top_k, logits.shape[-1]), dim=-1)  # (M, k)
            total = logits.logsumexp(dim=-1, keepdim=True)
            check_finite(total, "logits")
            shares = (values - total).exp()
            for (text, mask), *best in zip(owners, tokens.tolist(), values.tolist(), shares.tolist(), strict=True):
                guesses = [Guess(self._show(token), token, *scores) for token, *scores in zip(*best, strict=True)]
                found[text].append(FilledMask(mask + pieces[text].skipped, guesses))
        return found

    def classify(self, texts: Sequence[str]) -> list[Classification]:
        """The class of each text."""
        return list(self.classify_each(texts))

    def classify_each(self, texts: Iterable[str]) -> Iterator[Classification]:
        """`classify` for any number of texts, read as they are needed."""
        self.require(CLASSIFY)
        labels = self.labels
        for logits in self._by_chunk(texts, len(labels), self._class_logits):
            shares = (logits.double() / self._temperature).softmax(dim=-1)  # (N, L)
            for row in shares.tolist():
                best = max(range(len(row)), key=row.__getitem__)
                named = dict(zip(labels, row, strict=True))
                yield Classification(labels[best], best, row[best], named, self._calibrated)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The mean of each text's hidden states, [CLS] and [SEP] among them: (N, C)."""
        width = self.model.config.hidden_size
        return np.concatenate([np.zeros((0, width), np.float32), *self.embed_each(texts)])

    def embed_each(self, texts: Iterable[str]) -> Iterator[npt.NDArray[np.float32]]:
        """`embed` for any number of texts, read as they are needed; some rows at a time, in order."""
        for vectors in self._by_chunk(texts, self.model.config.hidden_size, self._means):
            yield vectors.numpy()

    def similarity(self, first: str, second: str) -> float:
        """The cosine of the angle between the two texts' vectors, between -1 and 1."""
        a, b = torch.from_numpy(self.embed([first, second])).double()
        return float(cosine_similarity(a, b, dim=0).clamp(-1, 1))

    def _mask_logits(self, hidden: Tensor) -> Tensor:
        """The model's `mlm_logits` in float32: bfloat16 has steps of 0.06 at a logit of 10, and ties all over."""
        model = self.model
        weight, bias = model.decoder_weight.float(), model.decoder_bias.float()
        return logits_of(model.transform(hidden).float(), weight, model.vocab_size, bias)

    def _class_logits(self, rows: Rows, hidden: Tensor) -> Tensor:
        return self.model.class_logits(hidden, rows.places, rows.segments)  # (N, L)

    @staticmethod
    def _means(rows: Rows, hidden: Tensor) -> Tensor:
        return mean_of_pieces(hidden, rows.places, rows.segments)  # (N, C)

    def _by_chunk(self, texts: Iterable[str], width: int, of: Callable[[Rows, Tensor], Tensor]) -> Iterator[Tensor]:
        """What `of` makes of the texts' hidden states, (N, width) float32 for each chunk, in the texts' order.
        `UserError` where these are not numbers."""
        waiting = iter(texts)
        while chunk := list(islice(waiting, CHUNK * self._rows)):
            out = torch.empty(len(chunk), width)
            with torch.inference_mode():
                for rows, hidden in self._read(self._framer.frame(chunk)):
                    out[torch.tensor(rows.which)] = of(rows, hidden).float().cpu()
            check_finite(out, "answers")
            yield out
        self._framer.report()

    def _read(self, pieces: Sequence[Piece]) -> Iterator[tuple[Rows, Tensor]]:
        """Batches of the pieces, and their hidden states (B, T, C)."""
        pad = self.tokenizer.roles.pad
        ids = [piece.tokens for piece in pieces]
        for packed in pack(ids, self._rows, self._framer.sep if pad is None else pad):
            rows = packed.to(self.model.device)
            yield rows, self.model(rows.tokens, segments=rows.segments)

    def _show(self, token: int) -> str:
        return self.tokenizer.decode([token], skip_special=False)


def _framer(tokenizer: Tokenizer, positions: int, ours: Mapping[str, Any]) -> Framer:
    """As in training: positions that no text reached there have no meaning."""
    trained = ours.get("sequence_length")
    limit = min(positions, trained) if isinstance(trained, int) and trained > 2 else positions
    how: Truncation = ours["truncation"] if ours.get("truncation") in get_args(Truncation) else "head"
    if limit < 3:
        raise UserError(f"{tokenizer.where}: the model reads {limit} tokens at once, too few for a framed text")
    return Framer(tokenizer, limit, how)
