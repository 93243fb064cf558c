"""The decoder: token ids in, logits or a loss out. Its parameters carry the names of `LlamaForCausalLM`.

Axes: B batch, T tokens, C width, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model import costs
from model.attention import Attention
from model.base import LanguageModel
from model.config import ModelConfig
from model.documents import attends_by_segments, positions_within, visible_within
from model.head import logits_of, summed_cross_entropy
from model.kv_cache import TokenCache
from model.mlp import FeedForward
from model.norm import RMSNorm
from model.rotary import Rotary


class Block(nn.Module):
    """Attention and feed-forward, each reading a normalised residual stream and adding to it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        visible: Tensor | None,
        cache: TokenCache | None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.self_attn(self.input_layernorm(x), rotation, visible, cache, segments)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Trunk(nn.Module):
    """Everything below the head: `model.*` in the state dict."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int) -> None:
        super().__init__()
        self.dropout, self.head_size = config.dropout, config.head_size
        self.recompute = False
        """Keep no activations of the blocks for backward, compute them again (Chen et al., 2016, arXiv 1604.06174)."""
        self.embed_tokens = nn.Embedding(padded_vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = Rotary(config.head_size, config.max_position_embeddings, config.rope_base, config.rope_scaling)

    def forward(
        self, tokens: Tensor, cache: TokenCache | None, positions: Tensor | None, segments: Tensor | None = None
    ) -> Tensor:
        """(B, T) int64 -> normalised hidden states (B, T, C)."""
        assert segments is None or (cache is None and positions is None)
        visible = None
        if cache is not None:
            start, visible = cache.begin(tokens.shape[1])
            positions = start if positions is None else positions
        elif segments is not None:
            positions = positions_within(segments, *tokens.shape)
            dropped = (
                self.dropout > 0 and self.training
            )  # of attention weights: the flash kernel for documents has none
            kind = (tokens.device, self._compute_dtype(tokens.device), tokens.shape[1], self.head_size)
            if dropped or not attends_by_segments(*kind):
                visible, segments = visible_within(positions), None
        elif positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        rotation = self.rotary(positions)
        x = nn.functional.dropout(self.embed_tokens(tokens), self.dropout, self.training)  # (B, T, C)
        for block in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, rotation, visible, cache, segments, use_reentrant=False)
            else:
                x = block(x, rotation, visible, cache, segments)
        if cache is not None:
            cache.finish()
        out: Tensor = self.norm(x)
        return out

    def _compute_dtype(self, device: torch.device) -> torch.dtype:
        """The number format that queries will have."""
        if torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return self.embed_tokens.weight.dtype


class Decoder(LanguageModel):
    """A causal language model."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size)
        self.model = Trunk(config, self.padded_vocab_size)
        self.lm_head = (
            None if config.tie_word_embeddings else nn.Linear(config.hidden_size, self.padded_vocab_size, bias=False)
        )
        self._initialise()

    def _initialise(self) -> None:
        """Normal weights; what adds to the residual stream is scaled down with depth, as in GPT-2."""
        std = self.config.initializer_range
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            if parameter.dim() < 2:
                continue  # norms start at one
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            scale = 1 / math.sqrt(2 * self.config.num_hidden_layers) if residual else 1.0
            nn.init.normal_(parameter, mean=0.0, std=std * scale)

    @property
    def recompute(self) -> bool:
        """Whether the blocks compute their activations again in backward."""
        return self.model.recompute

    @recompute.setter
    def recompute(self, wanted: bool) -> None:
        self.model.recompute = wanted

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding, (padded V, C)."""
        return self.model.embed_tokens

    @property
    def vocabulary_tensors(self) -> frozenset[str]:
        """The embedding and the head."""
        return frozenset({"model.embed_tokens.weight", "lm_head.weight"})

    @property
    def head_weight(self) -> Tensor:
        """The output matrix (padded V, C): the embedding itself where they are tied."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self,
        tokens: Tensor,
        *,
        targets: Tensor | None = None,
        cache: TokenCache | None = None,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, T, V) for tokens (B, T) int64; with `targets` (B, T), what `loss` returns.

        `positions` (T,) or (B, T) replaces the count from zero, or from what the cache holds. With `segments`, the
        borders of documents (see `model.documents`), each document is read as if it stood alone. The loss is
        reachable through `forward` because wrappers (DDP, torch.compile) intercept nothing else.
        """
        hidden = self.hidden(tokens, cache=cache, positions=positions, segments=segments)
        if targets is None:
            return self.head(hidden)
        return summed_cross_entropy(hidden, self.head_weight, targets, self.vocab_size)

    def hidden(
        self,
        tokens: Tensor,
        *,
        cache: TokenCache | None = None,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """The hidden states (B, T, C) that the head reads, for tokens (B, T) int64; arguments as in `forward`."""
        out: Tensor = self.model(tokens, cache, positions, segments)
        return out

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) for hidden states (..., C): give it only the positions you need."""
        return logits_of(hidden, self.head_weight, self.vocab_size)

    def loss(self, tokens: Tensor, targets: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sum of cross entropies in nats (float32 scalar) and the number of predicted tokens (int64 scalar).

        `tokens` and `targets` are (B, T) int64; a target of -100 is not predicted. `segments` as in `forward`.
        """
        out: tuple[Tensor, Tensor] = self(tokens, targets=targets, segments=segments)
        return out

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of forward and backward for one token of whole rows of `length`."""
        return costs.flops_per_token(self.config, self.vocab_size, (length + 1) / 2)
