"""What a finished run tells people on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.byproducts import QUARANTINE, REJECTED, ROWS, STATS
from shards.manifest import SPLITS, Manifest

DETAILS = {"rejected": REJECTED, "quarantined": QUARANTINE}
"""Accounts whose records are listed in a file, and the directory it is in."""


def summary(shown: str, output: Path, manifest: Manifest, changed: bool) -> str:
    """What became of every record, the splits, and what to type next. `shown` is where the dataset is, `output` the
    local directory that has at least its small files."""
    lines = [] if changed else [f"{shown}: up to date, nothing to do"]
    accounts = json.loads((output / STATS).read_bytes())["accounts"]
    for outcome, entry in accounts.items():
        rows = output / DETAILS[outcome] / ROWS if outcome in DETAILS else None
        where = f"  (see {rows})" if rows is not None and rows.exists() else ""
        lines.append(f"  {outcome:11} {entry['records']:>11,} records{where}")
    for split in SPLITS:
        entry = manifest.splits[split]
        if entry.documents:
            lines.append(f"  {split:11} {entry.documents:>11,} documents {entry.tokens:>13,} tokens")
    lines.append(f"dataset {shown} (statistics: {output / STATS})")
    if shown == str(output):
        lines.append(f"next: python train.py --train_data_path {output}")
    return "\n".join(lines)
