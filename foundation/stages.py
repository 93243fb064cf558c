"""Stages of a configuration file: sets of settings by name, one of which may be laid over the rest of the file.

    stages:
      pretrain: {task: mlm, max_steps: 20k}
      finetune: {training: {task: classify}, data: {max_seq_len: 128}}

A stage writes settings by their names alone, which are unique within a command, or in sections as the file does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.errors import UserError, did_you_mean
from foundation.section import Section

KEY = "stages"


def stages_of(document: Mapping[str, Any], path: Path | None) -> dict[str, dict[str, Any]]:
    """The stages of a file, raw. `UserError` for what is no mapping of mappings."""
    stages = document.get(KEY) or {}
    if not isinstance(stages, dict):
        raise UserError(f"{path}: {KEY!r} must hold stages by name, found {stages!r}")
    for name, values in stages.items():
        if not isinstance(values, dict | None):
            raise UserError(f"{path}: stage {name!r} must hold settings, found {values!r}")
    return {str(name): dict(values or {}) for name, values in stages.items()}


def settings_of(
    name: str,
    stages: Mapping[str, Mapping[str, Any]],
    sections: Mapping[str, type[Section]],
    path: Path | None,
    problems: list[str],
) -> dict[str, dict[str, Any]]:
    """What the stage `name` sets, by section and field. `UserError` for a stage that the file lacks; what is no setting
    of `sections` is added to `problems`."""
    if name not in stages:
        known = f"there are {', '.join(stages)}" if stages else f"it has no section {KEY!r}"
        raise UserError(f"{path or 'no configuration file'}: no stage {name!r}{did_you_mean(name, stages)}; {known}")
    found: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for key, value in stages[name].items():
        if key in sections and isinstance(value, dict):
            for leaf, item in value.items():
                _put(found, key, sections[key].key_of(str(leaf)), item, name, problems)
            continue
        owner = next(
            (section for section, kind in sections.items() if kind.key_of(str(key)) in kind.model_fields), None
        )
        if owner is None:
            leaves = [leaf for kind in sections.values() for leaf in kind.model_fields]
            problems.append(f"stage {name!r}: unknown key {key!r}{did_you_mean(str(key), leaves)}")
            continue
        _put(found, owner, sections[owner].key_of(str(key)), value, name, problems)
    return found


def _put(
    found: dict[str, dict[str, Any]], section: str, leaf: str, value: Any, stage: str, problems: list[str]
) -> None:
    if leaf in found[section]:
        problems.append(f"stage {stage!r}: {leaf!r} stands there twice; keep one of them")
    found[section][leaf] = value
