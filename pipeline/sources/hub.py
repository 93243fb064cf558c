"""Datasets of the Hugging Face hub: from hf://datasets/OWNER/NAME[@REVISION][:CONFIG[/SPLIT]] to their files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from foundation.errors import UserError
from pipeline.sources.base import Identity

SHORT_NAMES = {
    "imdb": "hf://datasets/stanfordnlp/imdb:plain_text",
    "wikitext": "hf://datasets/Salesforce/wikitext:wikitext-103-raw-v1",
    "wikipedia": "hf://datasets/wikimedia/wikipedia:20231101.en",
    "openwebtext": "hf://datasets/Skylion007/openwebtext:plain_text",
    "c4": "hf://datasets/allenai/c4:en",
    "pile-cc": "hf://datasets/ArmelR/the-pile-splitted:Pile-CC",
}
"""Names people know -> where the dataset lives."""

_ADDRESS = re.compile(
    r"hf://datasets/(?P<name>[^/@:]+/[^/@:]+)(?:@(?P<revision>refs/(?:convert|pr)/[^/:]+|[^/:]+))?"
    r"(?::(?P<config>[^/:]+)(?:/(?P<split>[^/:]+))?)?/?"
)


class HubFile(NamedTuple):
    """A file of a dataset: where to read it, how the dataset names it, and the split of ours its own one gives."""

    path: str
    name: str
    split: str | None
    identity: Identity | None


def is_dataset(address: str) -> bool:
    """Whether this is the address of a dataset, not of a file or directory in one."""
    return _ADDRESS.fullmatch(address) is not None


def find(address: str, streaming: bool, cache: Path | None) -> list[HubFile]:
    """The data files of a dataset."""
    raise UserError(f"{address}: not yet")
