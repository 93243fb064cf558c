"""What every language model of this program is to a trainer, a checkpoint and a model directory."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod

import torch
from torch import nn

from model.config import ModelConfig

VOCABULARY_MULTIPLE = 64  # rows of the embedding are padded to this, for the matmul kernels
BLOCK_NUMBER = re.compile(r"\.layers?\.(\d+)\.")


class LanguageModel(nn.Module, ABC):
    """A model over `vocab_size` tokens, built from its configuration alone.

    The embedding (and an untied head) has extra rows up to a multiple of 64; logits never show them.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        assert vocab_size > 0
        self.config, self.vocab_size = config, vocab_size
        self.padded_vocab_size = -(-vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    @abstractmethod
    def recompute(self) -> bool:
        """Whether the blocks keep no activations for backward but compute them again (Chen et al., 2016, arXiv
        1604.06174). It can be set."""

    @recompute.setter
    @abstractmethod
    def recompute(self, wanted: bool) -> None: ...

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding:
        """The token embedding, (padded V, C)."""

    @property
    @abstractmethod
    def vocabulary_tensors(self) -> frozenset[str]:
        """Names of the tensors whose first axis is the padded vocabulary."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self.embedding.weight.dtype

    def num_parameters(self) -> int:
        """Weights of the model, the padding of the vocabulary left out."""
        padding = self.padded_vocab_size - self.vocab_size
        weights = dict(self.named_parameters())
        # By shapes alone: the values may be split over processes.
        shapes = [weights[name].shape for name in self.vocabulary_tensors if name in weights]
        padded = sum(padding * math.prod(shape[1:]) for shape in shapes)
        return sum(parameter.numel() for parameter in weights.values()) - padded

    def depth_of(self, name: str) -> int:
        """How deep the parameter `name` lies: 0 the embeddings, n block n (from 1), blocks + 1 all above them."""
        found = BLOCK_NUMBER.search(name)
        if found is not None:
            return int(found.group(1)) + 1
        return 0 if ".embed" in name else self.config.num_hidden_layers + 1

    @abstractmethod
    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of forward and backward for one token of whole rows of `length`."""
