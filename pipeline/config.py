"""Settings of `python -m pipeline.process`: the `pipeline` section of the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from foundation.quantities import Count, Size
from foundation.section import Section

DEFAULT_INPUT = "dataset/raw"


class PipelineConfig(Section):
    """Everything the pipeline can be told. What changes the dataset's bytes is listed by `settings`."""

    input: list[str] = Field(
        [DEFAULT_INPUT],
        description="files, directories or globs of .jsonl, .txt or .md text, each also as .gz;"
        " when the default directory is missing, the text inside the Python installation is collected there",
    )
    output: Path = Field(Path("dataset/demo"), description="dataset directory to make")
    text_field: str = Field("text", description="field of a JSONL record that holds the text")
    label_field: str = Field("label", description="field of a JSONL record that holds an integer class label")
    text_documents: Literal["paragraph", "line", "file"] = Field(
        "paragraph", description="what one document of a .txt file is: paragraph (blank lines between), line or file"
    )
    tokenizer: Path | None = Field(
        None, description="tokenizer directory or tokenizer.json to use; null trains one on the input"
    )
    vocab_size: Count = Field(4096, ge=1, description="vocabulary size of a tokenizer that is trained")
    tokenizer_sample_bytes: Size = Field(
        64_000_000, ge=1, description="bytes of text, spread over the input, that a tokenizer is trained on"
    )
    tokenizer_engine: Literal["auto", "reference"] = Field(
        "auto", description="auto: the fast engine, audited, where it supports the tokenizer; reference: never"
    )
    workers: int | None = Field(None, ge=1, description="worker processes; null takes one per CPU")
    max_samples: Count | None = Field(None, ge=1, description="read only the first so many records; null reads all")
    unify_newlines: bool = Field(True, description="turn CR LF and CR into LF")
    remove_control_characters: bool = Field(True, description="remove control characters other than LF and tab")
    replace_br_tags: bool = Field(True, description="turn <br />, <br/> and <br> into LF")
    normalize_nfc: bool = Field(True, description="normalise to Unicode NFC")
    collapse_blanks: bool = Field(
        True, description="strip the text, drop blanks at line ends, keep one blank line of a run"
    )
    min_chars: int = Field(1, ge=1, description="reject shorter documents, in characters after cleaning")
    max_chars: Count | None = Field(None, ge=1, description="reject longer documents, in characters; null for no limit")
    exact_dedup: bool = Field(True, description="keep only the first of documents with the same cleaned text")
    val_fraction: float = Field(0.02, ge=0, lt=1, description="share of documents for the validation split")
    test_fraction: float = Field(0.0, ge=0, lt=1, description="share of documents for the test split")
    max_val_tokens: Count = Field(250_000, ge=1, description="most tokens in the validation or the test split")
    shard_tokens: Count = Field(100_000_000, ge=1, description="most tokens in one shard file")
    block_bytes: Size = Field(8 * 2**20, ge=64, description="bytes of input one task reads; plain files are cut so")
    max_record_bytes: Size = Field(
        16 * 2**20, ge=1, le=2**30, description="larger records are quarantined; bounds the memory of a worker"
    )
    max_bad_fraction: float = Field(
        0.05, ge=0, le=1, description="stop without publishing when a larger share of records cannot be read"
    )
    rejected_samples: int = Field(100, ge=0, description="rejected documents kept as examples, for each reason")
    seed: int = Field(1234, ge=0, description="seed of the splits")

    @field_validator("input", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> PipelineConfig:
        if not self.input:
            raise ValueError("input: name at least one file or directory")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction leave nothing to train on; make their sum smaller than 1")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(f"max_chars {self.max_chars} is below min_chars {self.min_chars}")
        return self

    def settings(self) -> dict[str, Any]:
        """What changes the dataset's bytes, but for the inputs and a given tokenizer's content."""
        excluded = {"input", "output", "workers", "tokenizer", "tokenizer_engine", "max_bad_fraction"}
        if self.tokenizer is not None:
            excluded |= {"vocab_size", "tokenizer_sample_bytes"}
        return self.model_dump(mode="json", exclude=excluded)

    def worker_count(self) -> int:
        """Worker processes to use."""
        return self.workers or available_cpus()


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ProcessFlags(Section):
    """Options of the command line only."""

    resume: bool = Field(False, description="go on with half-done work, or update a finished dataset")
    overwrite: bool = Field(False, description="make the dataset anew and replace the existing one")

    @model_validator(mode="after")
    def _exclusive(self) -> ProcessFlags:
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite exclude each other; give one")
        return self
