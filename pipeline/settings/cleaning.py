"""Which cleaning steps run."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Settings


class CleaningSettings(Settings):
    """One setting a step, in the order they run."""

    unify_newlines: bool = Field(True, description="turn CR LF and CR into LF")
    remove_control_characters: bool = Field(True, description="remove control characters other than LF and tab")
    replace_br_tags: bool = Field(True, description="turn <br />, <br/> and <br> into LF")
    normalize_nfc: bool = Field(True, description="normalise to Unicode NFC")
    collapse_blanks: bool = Field(
        True, description="strip the text, drop blanks at line ends, keep one blank line of a run"
    )
