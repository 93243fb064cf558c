"""Which source reads which kind of file."""

from __future__ import annotations

from pipeline.sources.arrow import ArrowSource
from pipeline.sources.base import InputOptions, Source
from pipeline.sources.class_files import ClassFilesSource
from pipeline.sources.compression import SUFFIXES as COMPRESSIONS
from pipeline.sources.compression import split_suffix
from pipeline.sources.csv_rows import CsvSource
from pipeline.sources.json_array import JsonSource
from pipeline.sources.jsonl import JsonLinesSource
from pipeline.sources.parquet import ParquetSource
from pipeline.sources.text import text_source

FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".txt": "text", ".text": "text", ".md": "text",
    ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip
"""Suffix of a file name -> format."""

DIRECTORY_FORMAT = "class_files"
"""The format of an input that is a directory of files."""

READABLE = frozenset({*FORMATS.values(), DIRECTORY_FORMAT} - {"tsv"})
"""What `InputOptions.format` can be, once it is settled."""

BINARY = ("parquet", "arrow")
"""Formats with a compression of their own."""

KNOWN = ", ".join(FORMATS) + "; all but .parquet and .arrow also with " + ", ".join(COMPRESSIONS)


def classify(name: str) -> tuple[str, str] | None:
    """Format and compression of a file by its name; None when it is hidden or of no known kind."""
    base = name.rsplit("/", 1)[-1].lower()
    stem, compression = split_suffix(base)
    form = next((form for suffix, form in FORMATS.items() if stem.endswith(suffix)), None)
    if form is None or base.startswith(".") or (compression and form in BINARY):
        return None
    return form, compression


def source_for(path: str, options: InputOptions) -> Source:
    """The source that reads an input."""
    match options.format:
        case "jsonl":
            return JsonLinesSource()
        case "json":
            return JsonSource()
        case "csv":
            return CsvSource()
        case "parquet":
            return ParquetSource()
        case "arrow":
            return ArrowSource()
        case "class_files":
            return ClassFilesSource()
    assert options.format == "text", f"{path}: {options.format}"
    return text_source(options)
