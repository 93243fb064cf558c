"""The base of every configuration model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every configuration model: frozen, unknown keys forbidden, defaults checked like given values."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())
    aliases: ClassVar[Mapping[str, Sequence[str]]] = {}
    positional: ClassVar[Sequence[str]] = ()
    """Fields that the command line takes by their place; they come before the flags."""

    @classmethod
    def over(cls, low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
        """The settings `high` laid over `low`: flags over a stage, and both over the file."""
        return {**low, **high}

    @classmethod
    def merge(cls, from_file: Mapping[str, Any], from_flags: Mapping[str, Any]) -> dict[str, Any]:
        """The values to build a section from: the command line wins over the file."""
        return cls.over(from_file, from_flags)

    @classmethod
    def other_names(cls, leaf: str) -> list[str]:
        """The aliases of a field, of this section with all its parts: `--min_lr`, which a YAML file writes `min_lr`."""
        kinds = [kind for kind in cls.__mro__ if issubclass(kind, Section) and "aliases" in vars(kind)]
        return list(dict.fromkeys(alias for kind in kinds for alias in kind.aliases.get(leaf, ())))

    @classmethod
    def key_of(cls, key: str) -> str:
        """The field that a YAML key names: itself, or the field it is an alias of; an unknown key as it is."""
        if key in cls.model_fields:
            return key
        named = (leaf for leaf in cls.model_fields for alias in cls.other_names(leaf) if bare_name(alias) == key)
        return next(named, key)


def bare_name(flag: str) -> str:
    """`--min-lr` -> `min_lr`."""
    return flag.lstrip("-").replace("-", "_")
