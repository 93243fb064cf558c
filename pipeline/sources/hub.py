"""Datasets of the Hugging Face hub: from hf://datasets/OWNER/NAME[@REVISION][:CONFIG[/SPLIT]] to their files.

Which files hold a configuration is told by the dataset's card (`configs`), else by the files' names, else by the
Parquet files that the hub itself converts (refs/convert/parquet); the rules are those of the `datasets` library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from foundation.errors import UserError
from foundation.logs import get_logger
from pipeline.sources.base import Identity
from pipeline.sources.card import WHOLE_FOLDER, Card
from pipeline.sources.hub_tree import Tree

SHORT_NAMES = {
    "imdb": "hf://datasets/stanfordnlp/imdb:plain_text",
    "wikitext": "hf://datasets/Salesforce/wikitext:wikitext-103-raw-v1",
    "wikipedia": "hf://datasets/wikimedia/wikipedia:20231101.en",
    "openwebtext": "hf://datasets/Skylion007/openwebtext:plain_text",
    "c4": "hf://datasets/allenai/c4:en",
    "pile-cc": "hf://datasets/ArmelR/the-pile-splitted:Pile-CC",
    "ag_news": "hf://datasets/fancyzhx/ag_news",
    "amazon_polarity": "hf://datasets/fancyzhx/amazon_polarity",
    "dbpedia_14": "hf://datasets/fancyzhx/dbpedia_14",
    "squad": "hf://datasets/rajpurkar/squad",
    "squad_v2": "hf://datasets/rajpurkar/squad_v2",
    "yelp_polarity": "hf://datasets/fancyzhx/yelp_polarity",
    "yelp_review_full": "hf://datasets/Yelp/yelp_review_full",
}
"""Names people know -> where the dataset lives."""

CONVERTED = "refs/convert/parquet"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<name>[^/@:]+/[^/@:]+)(?:@(?P<revision>refs/(?:convert|pr)/[^/:]+|[^/:]+))?"
    r"(?::(?P<config>[^/:]+)(?:/(?P<split>[^/:]+))?)?/?"
)
log = get_logger("pipeline.hub")


class HubFile(NamedTuple):
    """A file of a dataset: where to read it, its name in the dataset, and the hub's split it belongs to."""

    path: str
    name: str
    split: str
    identity: Identity | None


@dataclass(frozen=True)
class HubDataset:
    """What an address stands for. `info` describes the fields, as far as the card does."""

    files: list[HubFile]
    info: dict[str, Any]
    one_split: bool
    """Whether the address named the split."""


def is_dataset(address: str) -> bool:
    """Whether this is the address of a dataset, not of a file or directory in one."""
    return _ADDRESS.fullmatch(address) is not None


def find(address: str, streaming: bool, cache: Path | None) -> HubDataset:
    """The data files of a dataset: on the hub, or downloaded into the `cache` (None: Hugging Face's own) when not
    `streaming`. Raises `UserError` when there is no such dataset, configuration or split, or the hub is out of reach.
    """
    match = _ADDRESS.fullmatch(address)
    assert match is not None, address
    name, revision, config, split = match["name"], match["revision"], match["config"], match["split"]
    try:
        with _explained(address):
            tree = Tree.online(name, revision)
    except _Unreachable:
        cached = None if streaming else Tree.cached(name, revision, cache)
        if cached is None:
            raise
        log.warning("%s: the hub cannot be reached; reading what the cache holds", address)
        tree = cached
    with _explained(address):
        card = Card.parse(tree.read("README.md"))
        splits, tree = _splits(address, tree, card, config)
        if split is not None and split not in splits:
            raise UserError(f"{address}: no split {split!r}; it has {', '.join(splits)}")
        wanted = {split: splits[split]} if split is not None else splits
        if not streaming and tree.remote:
            tree.download(["README.md", *(file for names in wanted.values() for file in names)], cache)
        files = [
            HubFile(tree.path(file), f"{name}/{file}", part, tree.identity(file))
            for part, names in wanted.items()
            for file in names
        ]
        return HubDataset(files, card.info(config), split is not None)


def _splits(address: str, tree: Tree, card: Card, config: str | None) -> tuple[dict[str, list[str]], Tree]:
    """The files of every split of a configuration, and the tree they are in."""
    if card.configs:
        patterns = card.patterns(address, config)
        if patterns is not None:
            found = {split: tree.match(globs) for split, globs in patterns.items()}
            if WHOLE_FOLDER in found:
                found = _by_names(found[WHOLE_FOLDER])
            if any(found.values()):
                return {split: files for split, files in found.items() if files}, tree
    names = tree.data_files(f"{config}/" if config else "")
    if names and not tree.has_script:
        return _by_names(names), tree
    converted = tree.converted(CONVERTED)
    found = _converted(address, converted, config) if converted is not None else {}
    if converted is not None and found:
        return found, converted
    if names:
        return _by_names(names), tree
    known = f"; it has {', '.join(card.configs)}" if card.configs else ""
    raise UserError(
        f"{address}: no data files that can be read{f' for configuration {config!r}' if config else ''}{known};"
        " name a file in it (hf://datasets/OWNER/NAME/PATH) or another configuration"
    )


def _converted(address: str, tree: Tree, config: str | None) -> dict[str, list[str]]:
    """The hub's own Parquet files, CONFIG/SPLIT/NUMBER.parquet; of large datasets it converts only the first part."""
    files = [file for file in tree.data_files("") if file.count("/") >= 2]
    configs = list(dict.fromkeys(file.split("/")[0] for file in files))
    if config is None and len(configs) > 1:
        raise UserError(f"{address}: name a configuration, like {address}:{configs[0]}; it has {', '.join(configs)}")
    found: dict[str, list[str]] = {}
    for file in files:
        own, split = file.split("/")[:2]
        if config in (None, own):
            found.setdefault(split.removeprefix("partial-"), []).append(file)
            if split.startswith("partial-") and len(found[split.removeprefix("partial-")]) == 1:
                log.warning("%s: the hub has converted only the first part of split %s", address, split)
    return found


_KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def _by_names(names: list[str]) -> dict[str, list[str]]:
    """Splits by a word in the names of directories, else of files; all is train where there is no such word."""
    for part in ("directories", "files"):
        found: dict[str, list[str]] = {}
        for split, words in _KEYWORDS.items():
            pattern = re.compile(rf"(?:^|[/\-._ 0-9])(?:{'|'.join(words)})(?:[/\-._ 0-9]|$)")
            for name in names:
                folder, _, base = name.rpartition("/")
                if pattern.search(folder if part == "directories" else base):
                    found.setdefault(split, []).append(name)
        if found:
            return found
    return {"train": names}


class _Unreachable(UserError):
    """The hub gives no answer."""


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn the hub's exceptions into messages with a way out."""
    from huggingface_hub import errors

    try:
        yield
    except (UserError, ImportError):
        raise
    except errors.GatedRepoError:
        raise UserError(
            f"{address}: access is granted on the dataset's page only; ask for it there, then set HF_TOKEN"
            " or run `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{address}: no such revision; check what stands behind the @") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{address}: no such dataset, or it is private; check the name, or set HF_TOKEN or run `hf auth login`"
        ) from None
    except Exception as error:  # connection errors of several libraries, server errors, the offline mode
        reason = f"{type(error).__name__}: {error}".strip(": ").splitlines()[0][:200]
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        raise _Unreachable(
            f"{address}: the hub at {endpoint} cannot be reached ({reason}). Check the network; or set HF_ENDPOINT to a"
            " mirror; or, if it was downloaded before, give --streaming false to read it from the cache (--hub_cache);"
            " or give a local file or directory as --input"
        ) from None
