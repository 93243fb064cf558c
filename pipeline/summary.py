"""What a finished run tells people on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from foundation.page.wording import percent
from pipeline.publishing.layout import CLUSTERS, DUPLICATES, PAGE, QUARANTINE, REJECTED, REPORT, ROWS, STATS
from shards.manifest import SPLITS, Manifest

_DETAILS = {
    "duplicate": Path(DUPLICATES, CLUSTERS),
    "rejected": Path(REJECTED, ROWS),
    "quarantined": Path(QUARANTINE, ROWS),
}
"""Accounts whose records are listed in a file."""
_REASONS = 3


def summary(shown: str, output: Path, manifest: Manifest, changed: bool) -> str:
    """What became of every record, the splits, and what to type next. `shown` is where the dataset is, `output` the
    local directory that has at least its small files."""
    lines = [] if changed else [f"{shown}: up to date, nothing to do"]
    stats = json.loads((output / STATS).read_bytes())
    accounts = stats["accounts"]
    for outcome, entry in accounts.items():
        share = _share(entry, accounts["read"])
        lines.append(f"  {outcome:11} {entry['records']:>13,} records{share}{_reasons(entry)}")
        if outcome in _DETAILS and (output / _DETAILS[outcome]).exists():
            lines.append(f"  {'':11} {'':>13} see {output / _DETAILS[outcome]}")
    for split in SPLITS:
        counts = manifest.splits[split]
        if counts.documents:
            lines.append(f"  {split:11} {counts.documents:>13,} documents {counts.tokens:>15,} tokens")
    lines.append(_text(stats))
    lines.append(f"dataset {shown} (statistics: {output / STATS})")
    if (output / REPORT / PAGE).exists():
        lines.append(f"report  {output / REPORT / PAGE}")
    if shown == str(output):
        lines.append(f"next: python train.py --train_data_path {output}")
    return "\n".join(lines)


def _share(entry: dict[str, Any], read: dict[str, Any]) -> str:
    if entry is read or not read["records"]:
        return ""
    return f" {percent(entry['records'], read['records']):>6}"


def _reasons(entry: dict[str, Any]) -> str:
    """The most frequent reasons."""
    reasons = sorted(entry.get("reasons", {}).items(), key=lambda item: (-item[1]["records"], item[0]))
    named = [f"{reason} {counts['records']:,}" for reason, counts in reasons[:_REASONS]]
    more = f", {len(reasons) - _REASONS} more reasons" if len(reasons) > _REASONS else ""
    return f"  ({', '.join(named)}{more})" if named else ""


def _text(stats: dict[str, Any]) -> str:
    """How well the tokenizer fits."""
    splits, vocabulary = stats["splits"].values(), stats["vocabulary"]
    tokens, size = sum(split["tokens"] for split in splits), sum(split["text_bytes"] for split in splits)
    unknown = vocabulary["unknown_rate"]
    line = f"  {'text':11} {size / 1e6:>10,.1f} MB, {size / max(1, tokens):.2f} bytes per token,"
    line += f" {100 * vocabulary['used_share']:.1f}% of {vocabulary['size']:,} tokens used"
    return line if unknown is None else f"{line}, {100 * unknown:.2g}% unknown"
