"""The models that `benchmarks.encoder_step` times: ours in the step of train.py, and BertForMaskedLM of `transformers`.

All have the same shape, optimizer and clipping, and no dropout.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contenders import CLIP, RATE, Contender, adamw, dtype_of
from benchmarks.encoder_batches import Batch
from model.build import new_model
from model.config import ModelConfig
from model.encoder.heads import Heads
from training.devices.compilation import compiled
from training.devices.distributed import World
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers
from training.step import Stepper
from training.tasks.mlm import MaskedLoss


@dataclass(frozen=True)
class EncoderShape:
    """What the models have in common; the feed-forward layer is four times as wide as the model."""

    layers: int
    heads: int
    width: int
    length: int
    """Learned positions."""

    def config(self, architecture: str) -> ModelConfig:
        """Our configuration."""
        return ModelConfig(
            architecture=architecture,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=self.length,
        )


def ours(mode: str, architecture: str, shape: EncoderShape, vocab_size: int, device: torch.device) -> Contender:
    """Our encoder in the step of train.py, which computes the masked positions' logits alone."""
    torch.manual_seed(0)
    model = new_model(shape.config(architecture), vocab_size, Heads(mlm=True)).to(device)
    module = compiled(MaskedLoss(model), mode.startswith("compiled"), device)
    strategy, precision = Strategy(World(), device), Precision(device, dtype_of(mode))
    stepper = Stepper(module, Optimizers({"adamw": adamw(model)}), precision, strategy, CLIP)

    def step(batch: Batch) -> Tensor:
        result = stepper.run([batch.microbatch], RATE, lambda: False)
        assert result is not None
        return torch.tensor(result.loss)

    return Contender("ours", model, step)


def transformers_bert(
    mode: str, attention: str, shape: EncoderShape, vocab_size: int, device: torch.device
) -> Contender:
    """BertForMaskedLM, its loss as its own Trainer has it: logits of all positions. `attention`: sdpa or eager."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=shape.length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation=attention,
    )
    model: nn.Module = transformers.BertForMaskedLM(config).to(device)
    run: Any = torch.compile(model) if mode.startswith("compiled") else model
    optimizer, dtype, parameters = adamw(model), dtype_of(mode), list(model.parameters())

    def step(batch: Batch) -> Tensor:
        precision: AbstractContextManager[object] = (
            nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
        )
        with precision:
            loss: Tensor = run(**{name: tensor.to(device) for name, tensor in batch.tensors.items()}).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return Contender("transformers", model, step)
