"""The metadata of a dataset card: the YAML block at the head of a hub dataset's README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from foundation.errors import UserError

_BLOCK = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)

WHOLE_FOLDER = ""
"""Stands for the splits of a configuration of which the card names only the folder."""


@dataclass(frozen=True)
class Card:
    """What a card tells of its configurations (https://huggingface.co/docs/hub/datasets-manual-configuration)."""

    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    infos: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def parse(cls, readme: bytes) -> Card:
        """The card of a README.md; an empty one when it has no metadata that can be read."""
        block = _BLOCK.match(readme)
        try:
            value = yaml.safe_load(block[1]) if block else None
        except (yaml.YAMLError, UnicodeDecodeError):
            value = None
        if not isinstance(value, dict):
            return cls()
        configs = value.get("configs") or []
        infos = value.get("dataset_info") or []
        return cls(
            {str(c["config_name"]): c for c in configs if isinstance(c, dict) and c.get("config_name")},
            [info for info in (infos if isinstance(infos, list) else [infos]) if isinstance(info, dict)],
        )

    def _chosen(self, address: str, config: str | None) -> dict[str, Any] | None:
        if config is not None:
            return self.configs.get(config)
        default = [c for name, c in self.configs.items() if c.get("default") is True or name == "default"]
        if not default and len(self.configs) > 1:
            names = ", ".join(self.configs)
            first = next(iter(self.configs))
            raise UserError(f"{address}: name a configuration, like {address}:{first}; it has {names}")
        return (default or list(self.configs.values()))[0]

    def patterns(self, address: str, config: str | None) -> dict[str, list[str]] | None:
        """Glob patterns of every split of a configuration (None: the default one); None when the card gives none."""
        chosen = self._chosen(address, config)
        if chosen is None or not (chosen.get("data_files") or chosen.get("data_dir")):
            return None
        folder = f"{str(chosen['data_dir']).strip('/')}/" if chosen.get("data_dir") else ""
        given = chosen.get("data_files")
        if given is None:
            return {WHOLE_FOLDER: [f"{folder}**"]}
        entries = given if isinstance(given, list) else [given]
        found: dict[str, list[str]] = {}
        for entry in entries:
            if isinstance(entry, str):
                pairs: list[tuple[Any, Any]] = [("train", entry)]
            elif isinstance(entry, dict) and "path" in entry:
                pairs = [(entry.get("split", "train"), entry["path"])]
            else:
                pairs = list(entry.items()) if isinstance(entry, dict) else []
            for split, paths in pairs:
                globs = paths if isinstance(paths, list) else [paths]
                found.setdefault(str(split), []).extend(f"{folder}{path}" for path in globs)
        return found

    def info(self, config: str | None) -> dict[str, Any]:
        """What the card tells of the fields of a configuration."""
        named = [info for info in self.infos if config is None or info.get("config_name", config) == config]
        return named[0] if len(named) == 1 else {}
