"""A model from its configuration, with new weights or with given ones, and its weights for others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from foundation.errors import UserError
from model.base import LanguageModel
from model.config import ModelConfig
from model.decoder import Decoder
from model.encoder.bert import Bert
from model.encoder.heads import Heads
from model.encoder.modernbert import ModernBert
from model.unfilled import unfilled, with_memory

MISMATCH = "the weights and the configuration beside them don't match, use the files of one model"


def new_model(config: ModelConfig, vocab_size: int, heads: Heads | None = None) -> LanguageModel:
    """A model with new weights: a decoder where the architecture is null or llama, else an encoder with `heads`.

    `UserError` for sentence pairs without a token type for each half.
    """
    if not config.is_encoder:
        assert heads is None
        return Decoder(config, vocab_size)
    if heads is not None and heads.nsp and config.type_vocab_size < 2:
        raise UserError(
            f"type_vocab_size {config.type_vocab_size}: sentence pairs have two token types; make it 2, or train "
            "--task mlm"
        )
    kind = Bert if config.architecture == "bert" else ModernBert
    return kind(config, vocab_size, heads or Heads())


def build_model(
    config: ModelConfig,
    vocab_size: int,
    heads: Heads | None,
    tensors: Mapping[str, Tensor],
    *,
    where: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LanguageModel:
    """A model in evaluation mode with these weights, the vocabulary padded or not.

    `tensors` is a state dict of ours (a training checkpoint's) or the content of a model directory.
    `UserError`, naming `where`, for missing, unknown and wrongly shaped tensors, before memory is taken for any: the
    sizes in a configuration are believed no further than the weights bear them out.
    """
    if config.num_hidden_layers > len(tensors):
        raise UserError(
            f"{where}: lacks the tensors of {config.num_hidden_layers} layers, it has {len(tensors)} in all; {MISMATCH}"
        )
    try:
        with unfilled():
            model = new_model(config, vocab_size, heads)
    except (RuntimeError, OverflowError) as error:  # sizes beyond what a tensor can have
        raise UserError(f"{where}: impossible sizes ({str(error).splitlines()[0]}); {MISMATCH}") from None
    state = model.state_dict()
    ignored = {"lm_head.weight"} if config.tie_word_embeddings else set()
    unknown = sorted(name for name in tensors if name not in state and name not in ignored
                     and not name.endswith("rotary_emb.inv_freq"))  # fmt: skip
    missing = sorted(name for name in state if name not in tensors)
    for problem, names in (("lacks the tensors", missing), ("holds unknown tensors", unknown)):
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"{where}: {problem} {shown}; {MISMATCH}")
    for name, target in state.items():
        _check(tensors[name], target, name, vocab_size if name in model.vocabulary_tensors else None, where)
    model = with_memory(model.to(dtype), device).eval()
    for name, target in model.state_dict().items():
        _copy(tensors[name], target)
    return model


def export_tensors(model: LanguageModel) -> dict[str, Tensor]:
    """The weights under their names in `transformers`, on the CPU, without the padding of the vocabulary."""
    return {
        name: (tensor[: model.vocab_size] if name in model.vocabulary_tensors else tensor).detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }


def _check(source: Tensor, target: Tensor, name: str, vocab_size: int | None, where: str) -> None:
    """`UserError` when `source` does not fill `target`, whose first axis is the vocabulary's where it is given."""
    expected = tuple(target.shape)
    allowed = [expected]
    if vocab_size is not None:
        allowed.insert(0, (vocab_size, *expected[1:]))
    if tuple(source.shape) not in allowed:
        raise UserError(f"{where}: {name} has shape {tuple(source.shape)}, expected {allowed[0]}; {MISMATCH}")
    if not source.is_floating_point():
        raise UserError(f"{where}: {name} holds {source.dtype}, not floating-point numbers; save the model again")


@torch.no_grad()
def _copy(source: Tensor, target: Tensor) -> None:
    target[: source.shape[0]].copy_(source)
    target[source.shape[0] :].zero_()  # the padding of the vocabulary: never read, but never garbage
