"""Keys of configuration files that have another place today: MateConv's files are read as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.errors import did_you_mean

FORMER: Mapping[tuple[str, str], tuple[str, str]] = {
    ("training", "log_interval"): ("logging", "log_interval"),
    ("wandb", "enable"): ("logging", "use_wandb"),
    ("wandb", "project"): ("logging", "wandb_project"),
    ("wandb", "run_name"): ("logging", "wandb_run_name"),
}
"""Section and key in MateConv's files -> section and setting here."""
GONE = ("wandb",)
"""Sections that only MateConv's files have."""


def moved(
    document: Mapping[str, Any], lines: dict[tuple[str, ...], int], path: Path | None, problems: list[str]
) -> dict[str, Any]:
    """The document with its former keys where they belong, and so in `lines` (of `read_yaml`).

    What stands in both places, or is no key of a section that is gone, is added to `problems`.
    """
    found = {name: dict(value) if isinstance(value, dict) else value for name, value in document.items()}
    for old, (section, key) in FORMER.items():
        values = found.get(old[0])
        if not isinstance(values, dict) or old[1] not in values:
            continue
        value, where = values.pop(old[1]), lines.get(old, 1)
        there = found[section] = found.get(section) or {}
        if not isinstance(there, dict):
            continue  # which is a problem of its own
        if key in there:
            problems.append(f"{path}:{where}: {'.'.join(old)} is another name of {section}.{key}; keep one of them")
        there[key], lines[section, key] = value, where
    for name in GONE:
        rest, known = found.pop(name, None), [key for section, key in FORMER if section == name]
        if rest is not None and not isinstance(rest, dict):
            problems.append(f"{path}:{lines.get((name,), 1)}: section {name!r} must hold keys, found {rest!r}")
        for key in rest if isinstance(rest, dict) else ():
            where = lines.get((name, str(key)), 1)
            problems.append(f"{path}:{where}: unknown key {key!r} in section {name!r}{did_you_mean(str(key), known)}")
    return found
