"""Which cleaning steps run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipeline.settings.base import Settings


class CleaningSettings(Settings):
    """One setting a step, in the order they run."""

    repair_mojibake: bool = Field(
        False, description="repair text that was decoded with the wrong encoding (Ã© for é), with ftfy"
    )
    repair_c1_controls: bool = Field(
        True, description="turn U+0080 to U+009F into the Windows-1252 characters they stand for (… – — ’ “ ”)"
    )
    unify_newlines: bool = Field(True, description="turn CR LF and CR into LF")
    remove_control_characters: bool = Field(True, description="remove control characters other than LF and tab")
    remove_zero_width: bool = Field(
        False, description="remove characters of no width, except joiners inside emoji and words"
    )
    decode_html_entities: bool = Field(False, description="turn &amp;, &#8217; and the like into their characters")
    remove_html_tags: bool = Field(
        False, description="remove HTML tags (LF for those of blocks), comments, scripts and style sheets"
    )
    replace_br_tags: bool = Field(True, description="turn <br />, <br/> and <br> into LF")
    unicode_form: Literal["NFC", "NFKC", "none"] = Field(
        "NFC", description="Unicode normalization form: NFC, NFKC (also unifies widths and ligatures) or none"
    )
    url_mask: str | None = Field(None, description="text that takes the place of every URL; null leaves them")
    email_mask: str | None = Field(None, description="text that takes the place of e-mail addresses; null leaves them")
    ip_mask: str | None = Field(None, description="text that takes the place of IP addresses; null leaves them")
    collapse_blanks: bool = Field(
        True, description="strip the text, drop blanks at line ends, keep one blank line of a run"
    )

    @field_validator("url_mask", "email_mask", "ip_mask")
    @classmethod
    def _is_no_address(cls, value: str | None) -> str | None:
        from pipeline.cleaning.masks import holds_address

        if value is not None and holds_address(value):
            raise ValueError(f"{value!r} holds an address, which would be masked again; use a text like <url>")
        return value
