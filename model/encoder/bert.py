"""BERT (Devlin et al., 2018, arXiv 1810.04805), with the parameter names of `transformers`.

Axes: B batch, T tokens, N positions, C width, H heads, D head, F feed-forward, V vocabulary, L classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear

from model.config import ModelConfig
from model.encoder.attention import Layout, attend
from model.encoder.bert_heads import Pooler, Predictions, PretrainingHeads
from model.encoder.encoder import Encoder, at_places
from model.encoder.heads import Heads
from model.encoder.local_init import look_nearby


class Embeddings(nn.Module):
    """Token, position and token type, each with a learned vector; their sum is normalised."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.word_embeddings = nn.Embedding(padded_vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.norm_eps)

    def forward(self, tokens: Tensor, positions: Tensor, token_types: Tensor | None) -> Tensor:
        """Tokens, positions, token types (B, T) int64 -> (B, T, C)."""
        x = self.word_embeddings(tokens) + self.position_embeddings(positions)  # (B, T, C)
        if token_types is None:
            x = x + self.token_type_embeddings.weight[0]  # everything is of type 0, (C,)
        else:
            x = x + self.token_type_embeddings(token_types)
        return dropout(self.LayerNorm(x), self.dropout, self.training)


class SelfAttention(nn.Module):
    """Every token asks every token of its piece."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.num_attention_heads, config.dropout
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        queries, keys, values = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self._project(x))
        found = attend(queries, keys, values, layout, None, self.dropout if self.training else 0.0)  # (B, H, T, D)
        return found.transpose(1, 2).reshape(B, T, C)

    def _project(self, x: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values, (B, T, C) each."""
        parts = (self.query, self.key, self.value)
        if not torch.is_grad_enabled():
            return [part(x) for part in parts]
        # In training one product for all three: backward then adds up no three gradients of x.
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        return linear(x, weight, bias).chunk(3, dim=-1)


class AddAndNorm(nn.Module):
    """A product that is added to the residual stream, which is normalised after that (post-norm)."""

    def __init__(self, config: ModelConfig, inner: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.dense = nn.Linear(inner, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.norm_eps)

    def forward(self, x: Tensor, stream: Tensor) -> Tensor:
        """x (B, T, inner), stream (B, T, C) -> (B, T, C)."""
        out: Tensor = self.LayerNorm(stream + dropout(self.dense(x), self.dropout, self.training))
        return out


class Attention(nn.Module):
    """Self-attention and the way back into the stream: `attention.self`, `attention.output`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = AddAndNorm(config, config.hidden_size)

    def forward(self, x: Tensor, layout: Layout, places: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C), or (N, C) at `places`."""
        found = self.self(x, layout)  # (B, T, C)
        out: Tensor = self.output(at_places(found, places), at_places(x, places))
        return out


class Intermediate(nn.Module):
    """The first half of the feed-forward layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.feed_forward_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, F)."""
        return gelu(self.dense(x))


class Block(nn.Module):
    """Attention, then feed-forward, each added to the stream and normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = AddAndNorm(config, config.feed_forward_size)

    def forward(self, x: Tensor, layout: Layout, places: Tensor | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C); with `places` (N,) all but attention is computed for them alone, (N, C)."""
        x = self.attention(x, layout, places)
        out: Tensor = self.output(self.intermediate(x), x)
        return out


class Stack(nn.Module):
    """The blocks: `encoder.layer`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))


class Trunk(nn.Module):
    """Everything below the heads: `bert.*` in the state dict."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int, pooler: bool) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, padded_vocab_size)
        self.encoder = Stack(config)
        self.pooler = Pooler(config) if pooler else None


class Bert(Encoder):
    """BERT with the heads asked for."""

    def __init__(self, config: ModelConfig, vocab_size: int, heads: Heads) -> None:
        super().__init__(config, vocab_size, heads)
        self.bert = Trunk(config, self.padded_vocab_size, heads.has_pooler)
        pretrains = heads.mlm or heads.nsp
        self.cls = PretrainingHeads(config, self.padded_vocab_size, heads) if pretrains else None
        self.classifier = nn.Linear(config.hidden_size, len(heads.labels)) if heads.labels else None
        self._initialise()

    def _initialise(self) -> None:
        """Normal weights, biases of zero, norms of one; and with `local_init` a first block that looks nearby."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, mean=0.0, std=self.config.initializer_range)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        if self.config.local_init:
            weights = dict(self.bert.named_parameters())
            first = "encoder.layer.0.attention.self"
            look_nearby(
                weights["embeddings.word_embeddings.weight"],
                weights["embeddings.position_embeddings.weight"],
                weights["embeddings.token_type_embeddings.weight"],
                weights[f"{first}.query.weight"],
                weights[f"{first}.key.weight"],
                heads=self.config.num_attention_heads,
                std=self.config.initializer_range,
            )

    def hidden(
        self,
        tokens: Tensor,
        segments: Tensor | None = None,
        token_types: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """The hidden states (B, T, C) for tokens (B, T) int64, or (N, C) at `places`; arguments as in `forward`."""
        layout = self._layout(tokens, segments)
        x: Tensor = self.bert.embeddings(tokens, layout.positions, token_types)  # (B, T, C)
        for number, block in enumerate(self.blocks):
            x = self._run(block, x, layout, self._places_of(number, places))  # (B, T, C), at last perhaps (N, C)
        return x

    def transform(self, hidden: Tensor) -> Tensor:
        """What the decoder of masked tokens reads: (N, C) -> (N, C)."""
        out: Tensor = self._predictions.transform(hidden)
        return out

    def nsp_logits(self, hidden: Tensor) -> Tensor:
        """Logits (N, 2) of "follows" and "is random" for the hidden states (N, C) of the pairs' first tokens."""
        assert self.bert.pooler is not None and self.cls is not None and self.cls.seq_relationship is not None
        logits: Tensor = self.cls.seq_relationship(self.bert.pooler(hidden))
        return logits

    def class_logits(self, hidden: Tensor, places: Tensor, segments: Tensor | None = None) -> Tensor:
        """Logits (N, L) of the pieces that begin at `places` (N,): their first tokens tell, whatever `segments`."""
        assert self.bert.pooler is not None and self.classifier is not None
        pooled = self.bert.pooler(hidden.flatten(0, 1)[places])  # (N, C)
        logits: Tensor = self.classifier(dropout(pooled, self.config.head_dropout, self.training))
        return logits

    @property
    def decoder_weight(self) -> Tensor:
        """The matrix of the masked tokens' logits (padded V, C)."""
        own = self._predictions.decoder
        return self.embedding.weight if own is None else own.weight

    @property
    def decoder_bias(self) -> Tensor:
        """What is added to each token's logit, (padded V,)."""
        return self._predictions.bias

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding, (padded V, C)."""
        return self.bert.embeddings.word_embeddings

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        return self.bert.encoder.layer

    @property
    def vocabulary_tensors(self) -> frozenset[str]:
        """The embedding, and the decoder's matrix and bias."""
        own = ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight", "cls.predictions.bias")
        return frozenset(own)

    @property
    def _predictions(self) -> Predictions:
        assert self.cls is not None and self.cls.predictions is not None
        return self.cls.predictions
