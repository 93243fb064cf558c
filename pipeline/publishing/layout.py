"""Names of the files of a dataset: what else lies in its directory is never replaced or removed."""

from __future__ import annotations

import re

from shards.manifest import FILE_NAME, OPTIONAL_SUFFIXES, SHARD_NAME, SPLITS, SUFFIXES, TOKENIZER_DIRECTORY
from tokenization.files import CARRIED_FILES

STATS, SUMS = "stats.json", "SHA256SUMS"
QUARANTINE, REJECTED, DUPLICATES, REPORT = "quarantine", "rejected", "duplicates", "report"
"""Directories: records that could not be read, rejected documents, clusters of duplicates, the page for people."""
ROWS, CLUSTERS, PAGE = "records.jsonl", "clusters.jsonl", "index.html"
"""Files in them."""
FOLDERS = (*SPLITS, TOKENIZER_DIRECTORY, QUARANTINE, REJECTED, DUPLICATES, REPORT)
"""All directories of a dataset."""
BESIDE = frozenset(
    {FILE_NAME, STATS, SUMS, f"{QUARANTINE}/{ROWS}", f"{REJECTED}/{ROWS}", f"{DUPLICATES}/{CLUSTERS}"}
    | {f"{REPORT}/{PAGE}", f"{REPORT}/{SUMS}"}
    | {f"{TOKENIZER_DIRECTORY}/{name}" for name in CARRIED_FILES}
)
"""All files beside the shards, whose names are always the same."""
_SHARD = re.compile(
    f"({'|'.join(SPLITS)})/{SHARD_NAME}({'|'.join(re.escape(suffix) for suffix in (*SUFFIXES, *OPTIONAL_SUFFIXES))})"
)


def is_ours(name: str) -> bool:
    """Whether publishing gives this name (a path within the dataset). Whatever else lies there is somebody's own."""
    return name in BESIDE or _SHARD.fullmatch(name) is not None
