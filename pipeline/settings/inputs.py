"""What is read, and how a record becomes a text."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from foundation.quantities import Count, Size
from foundation.section import Section
from pipeline.settings.base import Settings

DEFAULT_INPUT = "dataset/raw"
Unit = Literal["paragraph", "line", "file"]


class InputSpec(Section):
    """One input with options of its own; what is not given comes from the settings of the whole run."""

    path: str = Field(description="file, directory, glob or URL")
    text_field: str | None = Field(None, description="field that holds the text")
    label_field: str | None = Field(None, description="field that holds an integer class label")
    text_documents: Unit | None = Field(None, description="what one document of a text file is")
    split: Literal["train", "val", "test"] | None = Field(
        None, description="the split all its documents go to; null splits by content"
    )
    weight: float = Field(1.0, gt=0, description="how often each of its documents is written into train")


class InputSettings(Settings):
    """Inputs, their fields, and the bounds of reading."""

    # The per-input options are part of each task's key and of the manifest's entry of the input.
    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"input", "max_bad_fraction"})

    input: list[str | InputSpec] = Field(
        [DEFAULT_INPUT],
        description="files, directories or globs of .jsonl, .txt or .md text, each also as .gz;"
        " when the default directory is missing, the text inside the Python installation is collected there",
    )
    text_field: str = Field("text", description="field of a JSONL record that holds the text")
    label_field: str = Field("label", description="field of a JSONL record that holds an integer class label")
    text_documents: Unit = Field(
        "paragraph", description="what one document of a .txt file is: paragraph (blank lines between), line or file"
    )
    max_samples: Count | None = Field(None, ge=1, description="read only the first so many records; null reads all")
    block_bytes: Size = Field(8 * 2**20, ge=64, description="bytes of input one task reads; plain files are cut so")
    max_record_bytes: Size = Field(
        16 * 2**20, ge=1, le=2**30, description="larger records are quarantined; bounds the memory of a worker"
    )
    max_bad_fraction: float = Field(
        0.05, ge=0, le=1, description="stop without publishing when a larger share of records cannot be read"
    )

    @field_validator("input", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value
