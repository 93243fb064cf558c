"""What is trained on: the training and validation tokens, and the tokenizer that explains them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from foundation.fingerprint import short
from foundation.logs import get_logger
from shards.dataset import Dataset
from tokenization.tokenizer import Tokenizer
from training.config import DataConfig

log = get_logger("training")


@dataclass(frozen=True)
class TrainingData:
    """Opened data of a run; `validation` is None where there is nothing to validate on."""

    train: Dataset
    validation: Dataset | None
    tokenizer: Tokenizer

    @property
    def vocab_size(self) -> int:
        """The vocabulary comes from the tokenizer; it is stated nowhere else."""
        return self.tokenizer.vocab_size


def open_data(config: DataConfig) -> TrainingData:
    """Open what `config` names. Starts in well under a second for any size: no token is read.

    Raises `UserError` for missing or damaged data, a plain `.bin` without a tokenizer, and a tokenizer that
    is not the one that made the tokens.
    """
    train = Dataset.open(config.train_data_path, "train")
    tokenizer = _tokenizer(config, train)
    _check_tokenizer(tokenizer, train, config)
    validation = _validation(config, train)
    if validation is not None:
        _check_tokenizer(tokenizer, validation, config)
    return TrainingData(train, validation, tokenizer)


def _tokenizer(config: DataConfig, train: Dataset) -> Tokenizer:
    path = config.tokenizer_path or train.tokenizer_path
    if path is None:
        raise UserError(
            f"{train.path}: these tokens come without a tokenizer, and the model's vocabulary size and the "
            "finished model need it; give the directory (or tokenizer.json) of the one that made them with "
            "--tokenizer_path"
        )
    return Tokenizer.load(path)


def _check_tokenizer(tokenizer: Tokenizer, dataset: Dataset, config: DataConfig) -> None:
    manifest = dataset.manifest
    if manifest is None or manifest.tokenizer_fingerprint == tokenizer.fingerprint:
        return
    source = config.tokenizer_path or config.train_data_path
    raise UserError(
        f"{dataset.path}: its tokens were made with another tokenizer (fingerprint "
        f"{short(manifest.tokenizer_fingerprint)}) than the one of {source} "
        f"({short(tokenizer.fingerprint)}). Leave --tokenizer_path out to use the dataset's own, or "
        "process the text again with the tokenizer you want"
    )


def _validation(config: DataConfig, train: Dataset) -> Dataset | None:
    """The dataset to validate on: the named one, else the training dataset's own validation split."""
    path = config.val_data_path
    if path is None:
        own = Dataset.open(train.path, "val") if train.manifest is not None else None
        if own is not None and own.tokens > 1:
            return own
        log.warning(
            "%s has no validation split: no validation loss is measured, best/ follows the newest checkpoint "
            "(--val_data_path names a dataset to validate on)",
            train.path,
        )
        return None
    dataset = Dataset.open(path, "val")
    if dataset.manifest is not None and dataset.tokens < 2:
        dataset = Dataset.open(path, "train")
    if dataset.tokens < 2:
        raise UserError(
            f"{Path(path)}: too small to validate on ({dataset.tokens} tokens); name another --val_data_path"
        )
    return dataset
