"""Where a run starts from: another model's shape and weights, as far as the new one has the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundation.errors import UserError
from foundation.logs import get_logger
from model.base import LanguageModel
from model.config import ModelConfig
from model.directory import load_model_directory
from tokenization.tokenizer import Tokenizer

log = get_logger("training")

STILL_FREE = ("dropout", "classifier_dropout", "classifier_pooling", "initializer_range", "local_init")
"""Settings of a model that do not shape the weights it starts from."""


class InitialModel:
    """The model in the directory `path`, ours or one of Hugging Face's, as the start of a run on `tokenizer`'s tokens.

    `UserError` for a directory that holds no model, or one of another vocabulary.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer) -> None:
        self.path = path
        self._loaded = load_model_directory(path, dtype=torch.float32)
        self._check_vocabulary(tokenizer)

    def shape(self, config: ModelConfig, given: Collection[str], length: int) -> ModelConfig:
        """The shape of the model to train on rows of `length`: the directory's, but for what does not concern its
        weights (see `shaped_as`)."""
        found = shaped_as(self._loaded.config, config, given, str(self.path))
        if length > found.max_position_embeddings:
            raise UserError(
                f"max_seq_len {length} exceeds the {found.max_position_embeddings} positions of {self.path}; lower "
                "max_seq_len"
            )
        learned = self._loaded.mateconv.get("sequence_length")
        if found.architecture == "bert" and isinstance(learned, int) and learned < length:
            log.warning(
                "%s was trained on rows of %d tokens: its positions beyond are random, and only this run teaches them "
                "(--max_seq_len %d leaves them out)",
                self.path,
                learned,
                learned,
            )
        return found

    def put_into(self, model: LanguageModel) -> None:
        """Give `model` (float32, on the CPU) every weight that it has in common with the directory's. Heads that only
        one of them has keep what they were made with, or are left behind; both are said.

        A classifier's head is in common where both tell the same classes apart.
        """
        old, new = self._loaded.model, dict(model.state_dict())
        there = {
            name: _with_rows(tensor, new[name]) if name in model.vocabulary_tensors else tensor
            for name, tensor in old.state_dict().items()
            if name in new and not self._other_classes(model, name)
        }
        fitting = {name: tensor for name, tensor in there.items() if tensor.shape == new[name].shape}
        fresh = sorted(new.keys() - fitting.keys())
        top = model.config.num_hidden_layers + 1
        torn = [name for name in fresh if model.depth_of(name) < top]
        if torn:
            raise UserError(f"{self.path}: does not fit the model, {torn[0]} is missing or of another shape")
        model.load_state_dict({**new, **fitting})
        left = sorted(old.state_dict().keys() - fitting.keys())
        log.info(
            "starting from %s: %d of its %d tensors%s%s",
            self.path,
            len(fitting),
            len(old.state_dict()),
            f"; new: {', '.join(fresh)}" if fresh else "",
            f"; left behind: {', '.join(left)}" if left else "",
        )

    def _other_classes(self, model: LanguageModel, name: str) -> bool:
        """Whether `name` is of a classifier that tells other classes apart than the directory's."""
        mine, theirs = getattr(model, "heads", None), self._loaded.heads
        labels = (mine.labels if mine else (), theirs.labels if theirs else ())
        return name.startswith("classifier.") and labels[0] != labels[1]

    def _check_vocabulary(self, tokenizer: Tokenizer) -> None:
        """Every id of the data must mean to the model what it means to the data."""
        size = tokenizer.vocab_size
        remedy = (
            f"process the text again with its tokenizer (python -m pipeline.process --tokenizer {self.path} …), or "
            "start from another model"
        )
        if self._loaded.model.vocab_size < size:
            raise UserError(
                f"{self.path}: knows {self._loaded.model.vocab_size:,} tokens, and the dataset's tokenizer has "
                f"{size:,}; {remedy}"
            )
        if not self._loaded.tokenizer_files:
            log.warning("%s holds no tokenizer: nobody can say whether its tokens are the dataset's", self.path)
            return
        own = Tokenizer.from_files(self._loaded.tokenizer_files, str(self.path))
        if own.fingerprint == tokenizer.fingerprint:
            return
        for number in range(size):
            theirs, ours = own.id_to_token(number), tokenizer.id_to_token(number)
            if theirs != ours:
                raise UserError(
                    f"{self.path}: its vocabulary is not the dataset's (token {number} is {theirs!r} there and "
                    f"{ours!r} in the dataset); {remedy}"
                )


def shaped_as(base: ModelConfig, config: ModelConfig, given: Collection[str], where: str) -> ModelConfig:
    """`base`, the shape of what a run starts from, with the settings of `config` that do not concern its weights: those
    that a flag names (`given`) or that are not the default.

    `UserError` for flags that ask for another shape than that of `where`.
    """
    fields = type(config).model_fields
    wrong = [leaf for leaf in fields if leaf in given and leaf not in STILL_FREE
             and getattr(config, leaf) != getattr(base, leaf)]  # fmt: skip
    if wrong:
        flags = " ".join(f"--{leaf}" for leaf in wrong)
        raise UserError(f"the model's shape comes from {where} (init_from); leave {flags} out")
    asked = {
        leaf: getattr(config, leaf)
        for leaf in STILL_FREE
        if leaf in given or getattr(config, leaf) != fields[leaf].get_default()
    }
    return ModelConfig(**{**base.model_dump(), "preset": None, **asked})


def initial_shape(
    initial: InitialModel | None,
    config: ModelConfig,
    given: Collection[str],
    saved: Mapping[str, Any] | None,
    length: int,
) -> ModelConfig | None:
    """The shape of a run's model where it does not come from the configuration: from the model that a fresh run starts
    from, or from the checkpoint `saved` of a run that did. None where it does."""
    if saved is not None:
        if not saved["config"]["training"].get("init_from"):
            return None
        return shaped_as(ModelConfig(**saved["model_config"]), config, given, "the model that the run started from")
    return initial.shape(config, given, length) if initial is not None else None


def _with_rows(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, whose rows are tokens, with as many of them as `like` has, which lends what is missing."""
    rows = min(len(tensor), len(like))
    return torch.cat([tensor[:rows], like[rows:]])
