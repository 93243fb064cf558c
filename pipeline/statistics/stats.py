"""Statistics of a dataset (`stats.json`): accounts that close, lengths, tokens, scripts. Only its content decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.publishing.decide import Decisions
from pipeline.sources.base import Task
from pipeline.statistics.lengths import EDGES, describe
from pipeline.statistics.scripts import SCRIPTS
from pipeline.statistics.token_counts import count_groups, sample_totals
from pipeline.statistics.vocabulary import describe_vocabulary, unigram_entropy
from shards.manifest import SPLITS, Manifest
from tokenization.tokenizer import Tokenizer

MOST_LABELS = 1000
"""So many labels are listed; with more, the numbers are no classes but something else."""
CLUSTER_SIZES = 10
"""Clusters of duplicates are counted by size up to this one; larger ones together."""


def statistics(manifest: Manifest, decisions: Decisions, tasks: list[Task], tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of stats.json. Lengths are those of whole documents, each counted once; tokens and their counts are
    what the shards hold, with repetitions and the terminators of pieces. Memory: 13 bytes a document."""
    documents = _Documents(manifest, decisions, tasks)
    splits = {split: _split(manifest, documents, number) for number, split in enumerate(SPLITS)}
    bins = max(len(split["document_tokens_histogram"]) for split in splits.values())
    return {
        "vocab_size": manifest.vocab_size,
        "splits": splits,
        "histogram_edges": EDGES[: bins + 1].tolist(),
        "accounts": decisions.accounts.close(),
        "duplicate_clusters": _clusters(decisions.cluster_sizes),
        "vocabulary": describe_vocabulary(documents.counts.sum(axis=0), tokenizer),
        "characters": _characters(sample_totals(decisions.parts), splits),
        "labels": documents.labels(),
        "documents_changed_by_cleaning": _cleaned(decisions),
        "damaged_inputs": {
            manifest.inputs[task.source].name: summary.damage
            for task, summary in zip(tasks, decisions.summaries, strict=True)
            if summary.damage
        },
        "sources": _sources(manifest, decisions, documents),
    }


class _Documents:
    """The published documents in input order, gathered in one pass over the parts: `tokens`, `sizes` (bytes of text),
    `splits`, each (n,); `source_ends`: how many there are up to the end of each input; `counts`: occurrences of each
    token in each split, shape (splits, vocabulary)."""

    def __init__(self, manifest: Manifest, decisions: Decisions, tasks: list[Task]) -> None:
        tokens, sizes, splits = [np.zeros(0, np.uint32)], [np.zeros(0, np.uint32)], [np.zeros(0, np.int8)]
        numbers = np.zeros(len(manifest.inputs), np.int64)
        self.counts = np.zeros((len(SPLITS), manifest.vocab_size), np.int64)
        self._labels: dict[int, int] = {}
        for place, task in enumerate(tasks):
            records, split = decisions.documents[place], decisions.splits[place]
            kept = split >= 0
            tokens.append(records["tokens"][kept])
            sizes.append(records["text_bytes"][kept])
            splits.append(split[kept])
            numbers[task.source] += int(kept.sum())
            self._count_labels(records["label"][kept])
            self.counts += _count(manifest, decisions, place, records["tokens"])
        self.tokens, self.sizes, self.splits = np.concatenate(tokens), np.concatenate(sizes), np.concatenate(splits)
        self.source_ends = np.cumsum(numbers)
        self._add_terminators(manifest)

    def _count_labels(self, labels: npt.NDArray[np.int32]) -> None:
        for label, count in zip(*np.unique(labels[labels >= 0], return_counts=True), strict=True):
            self._labels[int(label)] = self._labels.get(int(label), 0) + int(count)

    def _add_terminators(self, manifest: Manifest) -> None:
        """A document cut into pieces has a terminator in each, and mapping saw only the last."""
        for number, split in enumerate(SPLITS):
            added = manifest.splits[split].tokens - int(self.counts[number].sum())
            assert added == 0 or (added > 0 and manifest.terminator)
            if added:
                self.counts[number, manifest.terminator[0]] += added

    def labels(self) -> dict[str, int]:
        """Documents of each label; at most MOST_LABELS labels, the most frequent ones."""
        chosen = sorted(self._labels, key=lambda label: (-self._labels[label], label))[:MOST_LABELS]
        return {str(label): self._labels[label] for label in sorted(chosen)}


def _count(
    manifest: Manifest, decisions: Decisions, place: int, lengths: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """Occurrences of each token that part `place` gives to each split, shape (splits, vocabulary)."""
    part, split = decisions.parts[place], decisions.splits[place].astype(np.int64)
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    if decisions.repeats is None:  # the groups are the splits; what is not published is one more
        groups = np.where(split < 0, len(SPLITS), split)
        return count_groups(part, lengths, groups, len(SPLITS) + 1, dtype, manifest.vocab_size)[: len(SPLITS)]
    times = decisions.repeats[place].astype(np.int64)
    kinds, groups = np.unique(np.where(split < 0, -1, split + len(SPLITS) * times), return_inverse=True)
    found = count_groups(part, lengths, groups, len(kinds), dtype, manifest.vocab_size)
    result = np.zeros((len(SPLITS), manifest.vocab_size), np.int64)
    for kind, counts in zip(kinds.tolist(), found, strict=True):
        if kind >= 0:
            result[kind % len(SPLITS)] += kind // len(SPLITS) * counts
    return result


def _split(manifest: Manifest, documents: _Documents, number: int) -> dict[str, Any]:
    """Counts of one split, and what one of its documents is like."""
    entry = manifest.splits[SPLITS[number]]
    mask = documents.splits == number
    result: dict[str, Any] = {
        "records": int(mask.sum()),
        "documents": entry.documents,
        "tokens": entry.tokens,
        "text_bytes": entry.text_bytes,
        "bytes_per_token": round(entry.text_bytes / entry.tokens, 4) if entry.tokens else None,
        **describe(documents.tokens[mask], documents.sizes[mask]),
    }
    if entry.tokens:
        result["unigram_entropy_nats"] = round(unigram_entropy(documents.counts[number]), 4)
    return result


def _sources(manifest: Manifest, decisions: Decisions, documents: _Documents) -> dict[str, Any]:
    result, start = {}, 0
    for number, (entry, end) in enumerate(zip(manifest.inputs, documents.source_ends.tolist(), strict=True)):
        tokens, sizes = documents.tokens[start:end], documents.sizes[start:end]
        start, total = end, int(tokens.sum(dtype=np.int64))
        if number < len(decisions.source_accounts):  # the inputs behind it are empty
            result[entry.name] = {
                **decisions.source_accounts[number].close(),
                "bytes_per_token": round(int(sizes.sum(dtype=np.int64)) / total, 4) if total else None,
                **describe(tokens, sizes),
            }
    return result


def _clusters(sizes: dict[int, int]) -> dict[str, Any]:
    """Clusters of duplicates, the kept document included, by their size."""
    small = {str(size): sizes[size] for size in sorted(sizes) if size <= CLUSTER_SIZES}
    return {
        "clusters": sum(sizes.values()),
        "largest": max(sizes, default=0),
        "by_size": {**small, "more": sum(count for size, count in sizes.items() if size > CLUSTER_SIZES)},
    }


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


def _cleaned(decisions: Decisions) -> dict[str, int]:
    total: dict[str, int] = {}
    for summary in decisions.summaries:
        for step, changed in summary.cleaned.items():
            total[step] = total.get(step, 0) + changed
    return total
