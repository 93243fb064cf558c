"""What is trained on: the training and validation tokens, and the tokenizer that explains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from foundation.errors import UserError
from foundation.fingerprint import short
from foundation.logs import get_logger
from shards.dataset import Dataset
from tokenization.roles import changed
from tokenization.tokenizer import Tokenizer
from training.config import DataConfig

log = get_logger("training")


@dataclass(frozen=True)
class TrainingData:
    """Opened data of a run; `validation` is None where there is nothing to validate on. `weights` go with `datasets`:
    None where size decides."""

    datasets: tuple[Dataset, ...]
    weights: tuple[Fraction | None, ...]
    validation: Dataset | None
    tokenizer: Tokenizer

    @cached_property
    def train(self) -> Dataset:
        """All training datasets as one."""
        return Dataset.join(self.datasets)

    @property
    def where(self) -> str:
        """The training datasets' paths, for people."""
        return " + ".join(str(dataset.path) for dataset in self.datasets)

    @property
    def vocab_size(self) -> int:
        """The vocabulary comes from the tokenizer; it is stated nowhere else."""
        return self.tokenizer.vocab_size


def open_data(config: DataConfig) -> TrainingData:
    """Open what `config` names. Starts in well under a second for any size: no token is read.

    Raises `UserError` for missing or damaged data, a plain `.bin` without a tokenizer, and a tokenizer that
    is not the one that made the tokens.
    """
    sources = config.sources
    datasets = tuple(Dataset.open(source.path, "train") for source in sources)
    _check_alike(datasets)
    tokenizer = _tokenizer(config, datasets)
    for dataset in datasets:
        _check_tokenizer(tokenizer, dataset, config)
    validation = _validation(config, datasets)
    if validation is not None:
        _check_tokenizer(tokenizer, validation, config)
        _check_roles([*datasets, validation])
    return TrainingData(datasets, tuple(source.weight for source in sources), validation, tokenizer)


def _check_alike(datasets: Sequence[Dataset]) -> None:
    """`UserError` for datasets that cannot be mixed: made by different tokenizers, or the same one twice."""
    made = [(dataset, dataset.manifest.tokenizer_fingerprint) for dataset in datasets if dataset.manifest is not None]
    for dataset, fingerprint in made:
        if fingerprint != made[0][1]:
            raise UserError(
                f"{made[0][0].path} and {dataset.path} were made with different tokenizers (fingerprints "
                f"{short(made[0][1])} and {short(fingerprint)}) and cannot be mixed; process one of them again with "
                "the other's tokenizer (python -m pipeline.process --tokenizer …)"
            )
    _check_roles(datasets)
    first: dict[str, Dataset] = {}
    for dataset in datasets:
        if dataset.identity in first:
            raise UserError(
                f"{first[dataset.identity].path} and {dataset.path} are the same data; give it once, with a larger "
                "weight"
            )
        first[dataset.identity] = dataset


def _check_roles(datasets: Sequence[Dataset]) -> None:
    """`UserError` for special tokens of different roles, which a tokenizer's fingerprint does not tell: documents would
    end in one dataset and not in the other."""
    made = [dataset for dataset in datasets if dataset.manifest is not None]
    ids = [{name: entry.id for name, entry in dataset.roles.items()} for dataset in made]
    for dataset, roles in zip(made, ids, strict=True):
        if difference := changed(ids[0], roles):
            raise UserError(
                f"{made[0].path} and {dataset.path} were made with the same tokens in different roles ({difference}); "
                "process one of them again with the other's tokenizer_config.json"
            )


def _tokenizer(config: DataConfig, datasets: Sequence[Dataset]) -> Tokenizer:
    own = (dataset.tokenizer_path for dataset in datasets if dataset.tokenizer_path is not None)
    path = config.tokenizer_path or next(own, None)
    if path is None:
        raise UserError(
            f"{datasets[0].path}: these tokens come without a tokenizer, and the model's vocabulary size and the "
            "finished model need it; give the directory (or tokenizer.json) of the one that made them with "
            "--tokenizer_path"
        )
    return Tokenizer.load(path)


def _check_tokenizer(tokenizer: Tokenizer, dataset: Dataset, config: DataConfig) -> None:
    manifest = dataset.manifest
    if manifest is None or manifest.tokenizer_fingerprint == tokenizer.fingerprint:
        return
    source = config.tokenizer_path or ", ".join(config.train_data_path)
    raise UserError(
        f"{dataset.path}: its tokens were made with another tokenizer (fingerprint "
        f"{short(manifest.tokenizer_fingerprint)}) than the one of {source} "
        f"({short(tokenizer.fingerprint)}). Leave --tokenizer_path out to use the dataset's own, or "
        "process the text again with the tokenizer you want"
    )


def _validation(config: DataConfig, datasets: Sequence[Dataset]) -> Dataset | None:
    """The dataset to validate on: the named one, else the training datasets' own validation splits."""
    path = config.val_data_path
    if path is None:
        splits = (Dataset.open(train.path, "val") for train in datasets if train.manifest is not None)
        own = [split for split in splits if split.tokens > 1]
        if own:
            return Dataset.join(own)
        log.warning(
            "%s has no validation split: no validation loss is measured, best/ follows the newest checkpoint "
            "(--val_data_path names a dataset to validate on)",
            ", ".join(str(train.path) for train in datasets),
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
