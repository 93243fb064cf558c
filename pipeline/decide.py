"""The global decisions of publishing, over the small arrays of all parts: duplicates, splits, accounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from pipeline.accounts import EXACT_DUPLICATE, Accounts
from pipeline.config import PipelineConfig
from pipeline.dedup.exact import is_duplicate
from pipeline.parts import Part, Summary
from pipeline.splits import assign_splits, split_keys

DROPPED = -1


@dataclass
class Decisions:
    """What happens to every document of every part."""

    parts: list[Part]
    summaries: list[Summary]
    documents: list[npt.NDArray[np.void]]  # DOCUMENT records of each part
    splits: list[npt.NDArray[np.int8]]  # split number of each document of each part, DROPPED for duplicates
    accounts: Accounts
    source_accounts: list[Accounts]


def check_bad_records(config: PipelineConfig, summaries: list[Summary]) -> None:
    """Refuse to publish when too many records could not be read, with the most common reasons."""
    records = sum(summary.records for summary in summaries)
    bad = sum(summary.bad_records for summary in summaries)
    if not records or bad <= config.max_bad_fraction * records:
        return
    reasons: dict[str, int] = {}
    for summary in summaries:
        for reason, (number, _) in summary.quarantined.items():
            reasons[reason] = reasons.get(reason, 0) + number
    common = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1])[:3])
    remedy = "; name the field that holds the text with --text_field" if "missing_text_field" in reasons else ""
    raise UserError(
        f"{bad} of {records} records could not be read ({common}), more than max_bad_fraction"
        f" {config.max_bad_fraction:g}; nothing was published{remedy}"
    )


def decide(config: PipelineConfig, parts: list[Part], sources: list[int]) -> Decisions:
    """Read the small arrays of `parts` (in input order; `sources` numbers each part's input) and decide."""
    summaries = [part.summary() for part in parts]
    documents = [part.documents() for part in parts]
    hashes = np.concatenate([d["content_hash"] for d in documents]) if documents else np.zeros(0, "V16")
    tokens = np.concatenate([d["tokens"] for d in documents]) if documents else np.zeros(0, np.uint32)
    duplicate = is_duplicate(hashes) if config.exact_dedup else np.zeros(len(hashes), np.bool_)
    splits = np.full(len(hashes), DROPPED, np.int8)
    keys = split_keys(hashes[~duplicate], config.seed)
    splits[~duplicate] = assign_splits(
        keys, tokens[~duplicate], config.val_fraction, config.test_fraction, config.max_val_tokens
    )
    borders = np.cumsum([len(d) for d in documents])[:-1]
    accounts = Accounts()
    source_accounts = [Accounts() for _ in range(max(sources, default=-1) + 1)]
    for source, summary, records, mask in zip(sources, summaries, documents, np.split(duplicate, borders), strict=True):
        outcomes = mask * EXACT_DUPLICATE
        accounts.add(summary, records, outcomes)
        source_accounts[source].add(summary, records, outcomes)
    return Decisions(parts, summaries, documents, np.split(splits, borders), accounts, source_accounts)
