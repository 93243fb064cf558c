"""The base of every configuration model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every configuration model: frozen, unknown keys forbidden, defaults checked like given values."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())
    aliases: ClassVar[Mapping[str, Sequence[str]]] = {}
    positional: ClassVar[Sequence[str]] = ()
    """Fields that the command line takes by their place; they come before the flags."""
