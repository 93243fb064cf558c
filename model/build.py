"""A model from its configuration: with new weights, or with given ones."""

from __future__ import annotations

from model.base import LanguageModel
from model.config import ModelConfig
from model.decoder import Decoder
from model.encoder.bert import Bert
from model.encoder.heads import Heads
from model.encoder.modernbert import ModernBert


def new_model(config: ModelConfig, vocab_size: int, heads: Heads | None = None) -> LanguageModel:
    """A model with new weights: a decoder where the architecture is null or llama, else an encoder with `heads`."""
    if not config.is_encoder:
        assert heads is None
        return Decoder(config, vocab_size)
    kind = Bert if config.architecture == "bert" else ModernBert
    return kind(config, vocab_size, heads or Heads())
