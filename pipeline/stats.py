"""Statistics of a dataset (`stats.json`): accounts that close, lengths, tokens, scripts. Only its content decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.decide import Decisions
from pipeline.lengths import EDGES, describe
from pipeline.scripts import SCRIPTS
from pipeline.sources.base import Task
from pipeline.token_counts import count_groups, sample_totals
from pipeline.vocabulary import describe_vocabulary, unigram_entropy
from shards.manifest import SPLITS, Manifest, SplitEntry
from tokenization.tokenizer import Tokenizer

MOST_LABELS = 1000
"""So many labels are listed; with more, the numbers are no classes but something else."""


def statistics(manifest: Manifest, decisions: Decisions, tasks: list[Task], tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of stats.json. Memory: 8 bytes a document; time: the tokens of val, test and dropped documents."""
    counts = _counts(manifest, decisions)
    splits = {
        split: _split(manifest.splits[split], counts[number], *_lengths(decisions, range(len(tasks)), number))
        for number, split in enumerate(SPLITS)
    }
    return {
        "vocab_size": manifest.vocab_size,
        "splits": splits,
        "histogram_edges": EDGES[: 1 + max(len(s["document_tokens_histogram"]) for s in splits.values())].tolist(),
        "accounts": decisions.accounts.close(),
        "vocabulary": describe_vocabulary(counts.sum(axis=0), tokenizer),
        "characters": _characters(sample_totals(decisions.parts), splits),
        "labels": _labels(decisions),
        "documents_changed_by_cleaning": _cleaned(decisions),
        "damaged_inputs": {
            manifest.inputs[task.source].name: summary.damage
            for task, summary in zip(tasks, decisions.summaries, strict=True)
            if summary.damage
        },
        "sources": _sources(manifest, decisions, tasks),
    }


def _counts(manifest: Manifest, decisions: Decisions) -> npt.NDArray[np.int64]:
    """Occurrences of each token in each split, shape (splits, vocabulary)."""
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    total = np.zeros((len(SPLITS), manifest.vocab_size), np.int64)
    for part, documents, split in zip(decisions.parts, decisions.documents, decisions.splits, strict=True):
        groups = np.where(split < 0, len(SPLITS), split)  # the dropped ones are a group of their own
        found = count_groups(part, documents["tokens"], groups, len(SPLITS) + 1, dtype, manifest.vocab_size)
        total += found[: len(SPLITS)]
    return total


def _lengths(
    decisions: Decisions, places: Iterable[int], split: int | None
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Tokens and bytes of the documents that the parts at `places` give to `split` (None: to any)."""
    tokens, sizes = [np.zeros(0, np.uint32)], [np.zeros(0, np.uint32)]
    for place in places:
        mask = decisions.splits[place] >= 0 if split is None else decisions.splits[place] == split
        tokens.append(decisions.documents[place]["tokens"][mask])
        sizes.append(decisions.documents[place]["text_bytes"][mask])
    return np.concatenate(tokens), np.concatenate(sizes)


def _split(
    entry: SplitEntry,
    counts: npt.NDArray[np.int64],
    tokens: npt.NDArray[np.uint32],
    sizes: npt.NDArray[np.uint32],
) -> dict[str, Any]:
    """Counts of one split, and what one of its documents is like."""
    result: dict[str, Any] = {
        "documents": entry.documents,
        "tokens": entry.tokens,
        "text_bytes": entry.text_bytes,
        "bytes_per_token": round(entry.text_bytes / entry.tokens, 4) if entry.tokens else None,
        **describe(tokens, sizes),
    }
    if entry.tokens:
        result["unigram_entropy_nats"] = round(unigram_entropy(counts), 4)
    return result


def _sources(manifest: Manifest, decisions: Decisions, tasks: list[Task]) -> dict[str, Any]:
    places: list[list[int]] = [[] for _ in manifest.inputs]
    for place, task in enumerate(tasks):
        places[task.source].append(place)
    result = {}
    for number, entry in enumerate(manifest.inputs):
        if number < len(decisions.source_accounts):
            tokens, sizes = _lengths(decisions, places[number], None)
            total = int(tokens.sum(dtype=np.int64))
            result[entry.name] = {
                **decisions.source_accounts[number].close(),
                "bytes_per_token": round(int(sizes.sum(dtype=np.int64)) / total, 4) if total else None,
                **describe(tokens, sizes),
            }
    return result


def _characters(sample: dict[str, int], splits: dict[str, Any]) -> dict[str, Any]:
    """Kinds of characters, from the sampled documents; the shares are of characters that are no white space."""
    characters = sum(sample[script] for script in SCRIPTS)
    visible = max(1, characters - sample["white_space"])
    bytes_per_character = sample["bytes"] / characters if characters else None
    tokens = sum(split["tokens"] for split in splits.values())
    text_bytes = sum(split["text_bytes"] for split in splits.values())
    return {
        "sampled_documents": sample["documents"],
        "sampled_characters": characters,
        "bytes_per_character": round(bytes_per_character, 4) if bytes_per_character else None,
        "characters_per_token": round(text_bytes / bytes_per_character / tokens, 4) if bytes_per_character else None,
        "white_space_share": round(sample["white_space"] / characters, 6) if characters else None,
        "script_shares": {
            script: round(sample[script] / visible, 6)
            for script in SCRIPTS
            if script != "white_space" and sample[script]
        },
    }


def _labels(decisions: Decisions) -> dict[str, int]:
    """Kept documents of each label; at most MOST_LABELS labels, the most frequent ones."""
    total: dict[int, int] = {}
    for documents, split in zip(decisions.documents, decisions.splits, strict=True):
        labels = documents["label"][split >= 0]
        for label, count in zip(*np.unique(labels[labels >= 0], return_counts=True), strict=True):
            total[int(label)] = total.get(int(label), 0) + int(count)
    chosen = sorted(total, key=lambda label: (-total[label], label))[:MOST_LABELS]
    return {str(label): total[label] for label in sorted(chosen)}


def _cleaned(decisions: Decisions) -> dict[str, int]:
    total: dict[str, int] = {}
    for summary in decisions.summaries:
        for step, changed in summary.cleaned.items():
            total[step] = total.get(step, 0) + changed
    return total
