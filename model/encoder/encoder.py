"""What BERT and ModernBERT have in common: tokens to hidden states, hidden states to the heads' logits and losses.

Axes: B batch, T tokens, N positions, C width, V vocabulary, L classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model import costs
from model.base import LanguageModel
from model.config import ModelConfig
from model.encoder.attention import Layout
from model.encoder.heads import Heads
from model.head import logits_of, summed_cross_entropy


class Encoder(LanguageModel):
    """A bidirectional model. Its subclasses carry the names of `transformers`; `model.build.new_model` chooses one.

    With `segments`, the borders of pieces (see `model.documents`), each piece is read as if it stood alone: positions
    count from its start, attention stays inside it. Without them every row is one piece.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, heads: Heads) -> None:
        super().__init__(config, vocab_size)
        self.heads = heads
        self._recompute = False

    @property
    def recompute(self) -> bool:
        """Whether the blocks compute their activations again in backward."""
        return self._recompute

    @recompute.setter
    def recompute(self, wanted: bool) -> None:
        self._recompute = wanted

    def forward(
        self,
        tokens: Tensor,
        *,
        segments: Tensor | None = None,
        token_types: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, T, C) for tokens (B, T) int64.

        `token_types` (B, T) int64 tell the halves of a pair; None: all 0. ModernBERT has none. With `places` (N,) int64
        only the hidden states (N, C) at these positions of the flattened rows: what the last block does to others after
        its attention, nobody reads.
        """
        return self.hidden(tokens, segments, token_types, places)

    @abstractmethod
    def hidden(
        self,
        tokens: Tensor,
        segments: Tensor | None = None,
        token_types: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """The hidden states (B, T, C) for tokens (B, T) int64, or (N, C) at `places`; arguments as in `forward`."""

    def mlm_logits(self, hidden: Tensor) -> Tensor:
        """Logits (N, V) of the tokens at positions with these hidden states (N, C)."""
        return logits_of(self.transform(hidden), self.decoder_weight, self.vocab_size, self.decoder_bias)

    def mlm_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Summed nats, a float32 scalar, of targets (N,) int64 at hidden states (N, C); -100 is not predicted."""
        read = self.transform(hidden)  # (N, C)
        return summed_cross_entropy(read, self.decoder_weight, targets, self.vocab_size, self.decoder_bias)[0]

    @abstractmethod
    def transform(self, hidden: Tensor) -> Tensor:
        """What the decoder of masked tokens reads: (N, C) -> (N, C)."""

    @property
    @abstractmethod
    def decoder_weight(self) -> Tensor:
        """The matrix of the masked tokens' logits (padded V, C): the embedding itself where they are tied."""

    @property
    @abstractmethod
    def decoder_bias(self) -> Tensor:
        """What is added to each token's logit, (padded V,)."""

    @abstractmethod
    def nsp_logits(self, hidden: Tensor) -> Tensor:
        """Logits (N, 2) of "follows" and "is random" for the hidden states (N, C) of the pairs' first tokens."""

    @abstractmethod
    def class_logits(self, hidden: Tensor, places: Tensor, segments: Tensor | None = None) -> Tensor:
        """Logits (N, L) of the pieces that begin at `places` (N,) int64, counted in the flattened rows.

        hidden (B, T, C); `segments` as for the hidden states.
        """

    @property
    @abstractmethod
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""

    @property
    def windows(self) -> Sequence[int | None]:
        """How far each kind of layer sees to each side; None: everything."""
        return (None,)

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of forward and backward for a token of whole rows of `length`, with the head at
        every position."""
        return costs.flops_per_token(self.config, self.vocab_size, length)

    def _layout(self, tokens: Tensor, segments: Tensor | None) -> Layout:
        """Who attends to whom."""
        dtype = self.dtype
        if torch.is_autocast_enabled(tokens.device.type):
            dtype = torch.get_autocast_dtype(tokens.device.type)
        batch, length = tokens.shape
        dropout = self.config.dropout if self.training else 0.0
        head_size = self.config.head_size
        return Layout.of(segments, batch, length, tokens.device, dtype, head_size, self.windows, dropout)

    def _places_of(self, number: int, places: Tensor | None) -> Tensor | None:
        """`places` for block `number` if it is the last one: the others compute all positions."""
        return places if number == len(self.blocks) - 1 else None

    def _run(self, block: nn.Module, *arguments: object) -> Tensor:
        """A block's output, its activations kept or not."""
        if self._recompute and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, *arguments, use_reentrant=False)
        else:
            out = block(*arguments)
        return out


def at_places(x: Tensor, places: Tensor | None) -> Tensor:
    """Rows (N, C) at `places` (N,) of the flattened (B, T, C); without places all of it, as it is."""
    return x if places is None else x.flatten(0, 1).index_select(0, places)


def mean_of_pieces(hidden: Tensor, places: Tensor, segments: Tensor | None) -> Tensor:
    """The mean hidden state (N, C) of the pieces that begin at `places` (N,), in float32 at least.

    hidden (B, T, C); without `segments` every row is a piece.
    """
    B, T, C = hidden.shape
    precise = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    if segments is None:
        return precise.mean(dim=1)[places // T]
    tokens = torch.arange(B * T, device=hidden.device)
    piece = torch.searchsorted(segments, tokens, right=True) - 1  # (B * T,)
    sums = precise.new_zeros(segments.shape[0], C).index_add(0, piece, precise.flatten(0, 1))
    wanted = torch.searchsorted(segments, places, right=True) - 1  # (N,)
    lengths = segments[wanted + 1] - segments[wanted]
    return sums[wanted] / lengths[:, None]
