"""The base of the training settings: which of them a resumed run may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from foundation.section import Section


class Settings(Section):
    """A part of a configuration section."""

    FREE: ClassVar[frozenset[str]] = frozenset()
    """Settings of this part that any resume may change; the rest needs --allow_change."""

    @classmethod
    def free(cls) -> frozenset[str]:
        """What any resume may change, of this section with all its parts."""
        return frozenset().union(*(kind.FREE for kind in cls.__mro__ if issubclass(kind, Settings)))

    def problems(self) -> Sequence[str]:
        """What no single setting shows: each problem with its remedy; empty when all is well."""
        return ()
