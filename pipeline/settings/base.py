"""The base of the pipeline's settings: which of them change a dataset's bytes."""

from __future__ import annotations

from typing import ClassVar

from foundation.section import Section


class Settings(Section):
    """A concern's settings. Every field changes the dataset's bytes unless `NEUTRAL` names it."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset()
