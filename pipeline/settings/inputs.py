"""What is read, and how a record becomes a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator

from foundation.errors import did_you_mean
from foundation.quantities import Count, Size
from foundation.section import Section
from pipeline.settings.base import Settings

DEFAULT_INPUT = "dataset/raw"
Unit = Literal["paragraph", "line", "file"]
Format = Literal["auto", "jsonl", "json", "text", "csv", "tsv", "parquet", "arrow", "class_directories", "text_files"]


def _one_character(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in '"\r\n':
        raise ValueError("must be one ASCII character and no quote or line end")
    return value


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("must not be empty; leave it out (null) instead")
    return value


Delimiter = Annotated[str, AfterValidator(_one_character)]
NotEmpty = Annotated[str, AfterValidator(_not_empty)]
Split = Literal["train", "val", "test"]
Weight = Annotated[float, Field(gt=0, le=1000)]


class InputSpec(Section):
    """One input with options of its own; what is not given comes from the settings of the same name."""

    path: str = Field(description="file, directory, glob, URL, hub address or short name")
    input_format: Format | None = Field(None, description="how its files are read; null goes by their names")
    text_field: str | None = Field(None, description="field that holds the text")
    text_template: NotEmpty | None = Field(None, description="text made of several fields")
    label_field: str | None = Field(None, description="field that holds the class label")
    labels: list[str] | None = Field(None, description="names of the classes in the order of their numbers")
    messages_field: str | None = Field(None, description="field that holds the messages of chat records")
    text_documents: Unit | None = Field(None, description="what one document of a text file is")
    text_separator: NotEmpty | None = Field(None, description="string between the documents of a text file")
    csv_delimiter: Delimiter | None = Field(None, description="character between the fields of a row")
    csv_quotes: bool | None = Field(None, description="whether fields may be quoted")
    csv_header: bool | None = Field(None, description="whether the first row names the fields")
    streaming: bool | None = Field(None, description="false: download the files of a hub dataset first")
    split: Split | None = Field(None, description="the split all its documents go to; null splits by content")
    weight: Weight = Field(1.0, description="how often each of its documents is written into train")


class InputSettings(Settings):
    """Inputs, their fields, and the bounds of reading."""

    # The per-input options are part of each task's key and of the manifest's entry of the input.
    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"input", "max_bad_fraction", "streaming", "hub_cache"})

    input: list[str | InputSpec] = Field(
        [DEFAULT_INPUT],
        description="files, directories, globs, URLs (s3://…), hub datasets (hf://datasets/OWNER/NAME:CONFIG/SPLIT) or"
        " their short names (imdb, wikitext, …); .jsonl .json .txt .md .csv .tsv .parquet .arrow, text also as .gz .zst"
        " .bz2 .xz; a mapping {path: …, split: …} has options of its own (docs/sources.md);"
        " when the default directory is missing, the text inside the Python installation is collected there",
    )
    input_format: Format = Field("auto", description="how files are read; auto goes by their names")
    text_field: str = Field("text", description="field of a record that holds the text")
    text_template: NotEmpty | None = Field(
        None, description='text made of several fields, like "{title}\\n\\n{text}"; null takes text_field as it is'
    )
    label_field: str | None = Field(
        "label", description="field of a record that holds a class label; null reads no labels"
    )
    labels: list[str] = Field(
        [], description="names of the classes in the order of their numbers, for labels that are strings"
    )
    messages_field: str | None = Field(
        None,
        description="field of chat messages; null: messages or conversations, where there is no text field",
    )
    text_documents: Unit = Field(
        "paragraph", description="what one document of a .txt file is: paragraph (blank lines between), line or file"
    )
    text_separator: NotEmpty | None = Field(
        None, description="string between the documents of a .txt file, instead of text_documents"
    )
    csv_delimiter: Delimiter | None = Field(
        None, description="character between the fields of a row; null: a comma, in .tsv files a tab"
    )
    csv_quotes: bool = Field(True, description="fields of a CSV file may be quoted (and then hold line ends)")
    csv_header: bool = Field(True, description="the first row of a CSV file names the fields; false: they are 0, 1, …")
    streaming: bool = Field(True, description="read hub datasets over the network; false downloads the files first")
    hub_cache: Path | None = Field(
        None, description="where downloaded hub files are kept; null: Hugging Face's own cache (HF_HOME)"
    )
    max_samples: Count | None = Field(None, ge=1, description="read only the first so many records; null reads all")
    block_bytes: Size = Field(12 * 2**20, ge=64, description="bytes of input one task reads; plain files are cut so")
    max_record_bytes: Size = Field(
        16 * 2**20, ge=1, le=2**30, description="larger records are quarantined; bounds the memory of a worker"
    )
    max_bad_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="stop without publishing if a larger share of records, or of plain files' bytes, cannot be read",
    )

    @field_validator("input", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        many = [value] if isinstance(value, str | dict) else value
        return [_spec(item) if isinstance(item, dict) else item for item in many] if isinstance(many, list) else many


def _spec(given: dict[str, Any]) -> InputSpec:
    """An input's own mapping; what is wrong with it is said in one sentence."""
    for key in given:
        if key not in InputSpec.model_fields:
            raise ValueError(f"unknown key {key!r}{did_you_mean(str(key), InputSpec.model_fields)}")
    try:
        return InputSpec(**given)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {message}") from None
