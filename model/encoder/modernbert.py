"""ModernBERT (Warner et al., 2024, arXiv 2412.13663), with the parameter names of `transformers`.

What is new since BERT: rotary positions, a gated feed-forward layer (GeGLU), normalisation before each layer instead of
after it, no biases, and attention that sees only a window of tokens in two layers of three.

Axes: B batch, T tokens, N positions, C width, H heads, D head, F feed-forward, V vocabulary, L classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu

from model.config import ModelConfig
from model.encoder.attention import Layout, attend
from model.encoder.encoder import Encoder, at_places, mean_of_pieces
from model.encoder.heads import Heads
from model.rotary import Rotary, rotate

CUTOFF = 2.0  # initial weights lie within so many standard deviations


def norm_of(config: ModelConfig) -> nn.LayerNorm:
    """A LayerNorm without bias."""
    return nn.LayerNorm(config.hidden_size, config.norm_eps, bias=False)


class Embeddings(nn.Module):
    """Token vectors, normalised: positions come with the rotation of queries and keys."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.tok_embeddings = nn.Embedding(padded_vocab_size, config.hidden_size)
        self.norm = norm_of(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, C)."""
        return dropout(self.norm(self.tok_embeddings(tokens)), self.dropout, self.training)


class Attention(nn.Module):
    """Every token asks the tokens of its piece, all or those in its window."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.size, self.dropout = config.num_attention_heads, config.head_size, config.dropout
        self.window = config.window if config.is_local(layer) else None
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], layout: Layout, places: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C), or (N, C) at `places`; `rotation`: cosines and sines of positions, (B, 1, T, D/2)."""
        B, T, C = x.shape
        mixed = self.Wqkv(x).view(B, T, 3, self.heads, self.size)
        queries, keys, values = mixed.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        queries, keys = rotate(queries, *rotation), rotate(keys, *rotation)
        dropped = self.dropout if self.training else 0.0
        found = attend(queries, keys, values, layout, self.window, dropped)  # (B, H, T, D)
        read = at_places(found.transpose(1, 2).reshape(B, T, C), places)
        return dropout(self.Wo(read), self.dropout, self.training)


class FeedForward(nn.Module):
    """GeGLU (Shazeer, 2020, arXiv 2002.05202): `Wo(gelu(x W) * (x V))`, with W and V in one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.Wi = nn.Linear(config.hidden_size, 2 * config.feed_forward_size, bias=False)
        self.Wo = nn.Linear(config.feed_forward_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        value, gate = self.Wi(x).chunk(2, dim=-1)  # (B, T, F) each
        return dropout(self.Wo(gelu(value) * gate), self.dropout, self.training)


class Block(nn.Module):
    """Attention and feed-forward, each reading a normalised residual stream and adding to it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        # What the first block reads is normalised already.
        self.attn_norm = nn.Identity() if layer == 0 else norm_of(config)
        self.attn = Attention(config, layer)
        self.mlp_norm = norm_of(config)
        self.mlp = FeedForward(config)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], layout: Layout, places: Tensor | None = None
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); with `places` (N,) all but attention is computed for them alone, (N, C)."""
        x = at_places(x, places) + self.attn(self.attn_norm(x), rotation, layout, places)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Trunk(nn.Module):
    """Everything below the heads: `model.*` in the state dict."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, padded_vocab_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.final_norm = norm_of(config)
        longest = config.max_position_embeddings
        self.rotary = Rotary(config.head_size, longest, config.rope_base)
        self.local_rotary = Rotary(config.head_size, longest, config.local_rope_theta)


class PredictionHead(nn.Module):
    """What stands between hidden states and the last matrix, that of the tokens or that of the classes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.norm = norm_of(config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, C)."""
        out: Tensor = self.norm(gelu(self.dense(x)))
        return out


class Decoder(nn.Module):
    """From a position to its token: a bias, and a matrix unless it is the token embedding."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int) -> None:
        super().__init__()
        shape = (padded_vocab_size, config.hidden_size)
        self.weight = None if config.tie_word_embeddings else nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(padded_vocab_size))


class ModernBert(Encoder):
    """ModernBERT with the heads asked for; it has none for sentence pairs."""

    def __init__(self, config: ModelConfig, vocab_size: int, heads: Heads) -> None:
        super().__init__(config, vocab_size, heads)
        assert not heads.nsp and not heads.pooler
        self.model = Trunk(config, self.padded_vocab_size)
        self.head = PredictionHead(config) if heads.mlm or heads.labels else None
        self.decoder = Decoder(config, self.padded_vocab_size) if heads.mlm else None
        self.classifier = nn.Linear(config.hidden_size, len(heads.labels)) if heads.labels else None
        self._initialise()

    def _initialise(self) -> None:
        """Truncated normal weights; what adds to the residual stream is scaled down with depth, as in Megatron."""
        small = 1 / math.sqrt(2 * self.config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            std = self.config.initializer_range
            if parameter.dim() < 2:
                if name.endswith("bias"):
                    nn.init.zeros_(parameter)
                continue  # norms start at one
            if name.endswith(("Wo.weight", "head.dense.weight", "decoder.weight")):
                std *= small
            elif name == "classifier.weight":
                std = 1 / math.sqrt(self.config.hidden_size)
            nn.init.trunc_normal_(parameter, mean=0.0, std=std, a=-CUTOFF * std, b=CUTOFF * std)

    def hidden(
        self,
        tokens: Tensor,
        segments: Tensor | None = None,
        token_types: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """The hidden states (B, T, C) for tokens (B, T) int64, or (N, C) at `places`; arguments as in `forward`."""
        assert token_types is None
        layout = self._layout(tokens, segments)
        everywhere, nearby = self.model.rotary(layout.positions), self.model.local_rotary(layout.positions)
        x: Tensor = self.model.embeddings(tokens)  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            rotation = nearby if self.config.is_local(layer) else everywhere
            x = self._run(
                block, x, rotation, layout, self._places_of(layer, places)
            )  # (B, T, C), at last perhaps (N, C)
        out: Tensor = self.model.final_norm(x)
        return out

    def transform(self, hidden: Tensor) -> Tensor:
        """What the decoder of masked tokens reads: (N, C) -> (N, C)."""
        assert self.head is not None
        out: Tensor = self.head(hidden)
        return out

    def nsp_logits(self, hidden: Tensor) -> Tensor:
        """ModernBERT is not trained on sentence pairs."""
        raise AssertionError("a head that this architecture does not have")

    def class_logits(self, hidden: Tensor, places: Tensor, segments: Tensor | None = None) -> Tensor:
        """Logits (N, L) of the pieces that begin at `places` (N,): from their first tokens, or their means."""
        assert self.classifier is not None
        if self.config.classifier_pooling == "mean":
            pooled = mean_of_pieces(hidden, places, segments).to(hidden.dtype)  # (N, C)
        else:
            pooled = hidden.flatten(0, 1)[places]
        logits: Tensor = self.classifier(dropout(self.transform(pooled), self.config.head_dropout, self.training))
        return logits

    @property
    def decoder_weight(self) -> Tensor:
        """The matrix of the masked tokens' logits (padded V, C)."""
        assert self.decoder is not None
        return self.embedding.weight if self.decoder.weight is None else self.decoder.weight

    @property
    def decoder_bias(self) -> Tensor:
        """What is added to each token's logit, (padded V,)."""
        assert self.decoder is not None
        return self.decoder.bias

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding, (padded V, C)."""
        return self.model.embeddings.tok_embeddings

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        return self.model.layers

    @property
    def windows(self) -> Sequence[int | None]:
        """How far each kind of layer sees to each side; None: everything."""
        local = any(self.config.is_local(layer) for layer in range(self.config.num_hidden_layers))
        return (None, self.config.window) if local else (None,)

    @property
    def vocabulary_tensors(self) -> frozenset[str]:
        """The embedding, and the decoder's matrix and bias."""
        return frozenset({"model.embeddings.tok_embeddings.weight", "decoder.weight", "decoder.bias"})
