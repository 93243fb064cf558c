"""Find input files and the source that reads each."""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.settings.inputs import InputSpec
from pipeline.sources.base import InputFile, InputOptions, Source
from pipeline.sources.jsonl import JsonLinesSource
from pipeline.sources.text import TextSource

JSONL_SUFFIXES = (".jsonl", ".ndjson")
TEXT_SUFFIXES = (".txt", ".text", ".md")
SUFFIXES = tuple(s + end for s in (*JSONL_SUFFIXES, *TEXT_SUFFIXES) for end in ("", ".gz"))


def source_for(path: str, options: InputOptions) -> Source:
    """The source that reads an input."""
    name = path.lower().removesuffix(".gz")
    return JsonLinesSource() if name.endswith(JSONL_SUFFIXES) else TextSource(options.text_documents)


def find_inputs(config: PipelineConfig) -> list[InputFile]:
    """The input files in order: as given, files within a directory or glob sorted by name.

    Raises `UserError` for what is missing, unreadable or holds no text.
    """
    found: list[InputFile] = []
    for given in config.input:
        spec = InputSpec(path=given) if isinstance(given, str) else given
        found.extend(_expand(spec.path, _options(spec, config)))
    seen: dict[Path, str] = {}
    for file in found:
        real = Path(file.path).resolve()
        if real in seen:
            raise UserError(f"{file.path}: given twice (also as {seen[real]}); name every file once")
        seen[real] = file.path
    return _distinct_names(found)


def _options(spec: InputSpec, config: PipelineConfig) -> InputOptions:
    return InputOptions(
        text_field=spec.text_field or config.text_field,
        label_field=spec.label_field or config.label_field,
        text_documents=spec.text_documents or config.text_documents,
        split=spec.split,
        weight=spec.weight,
    )


def _expand(pattern: str, options: InputOptions) -> list[InputFile]:
    path = Path(pattern)
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file() and _has_known_suffix(p))
        if not inside:
            raise UserError(f"{path}: no text in this directory; looked for {', '.join(SUFFIXES)}")
        return [InputFile(str(p), p.relative_to(path).as_posix(), options) for p in inside]
    if path.is_file():
        if not _has_known_suffix(path):
            raise UserError(f"{path}: unknown kind of file; its name should end in one of {', '.join(SUFFIXES)}")
        return [InputFile(str(path), path.name, options)]
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    files = [p for p in matches if p.is_file() and _has_known_suffix(p)]
    if not files:
        raise UserError(f"{pattern}: no such file or directory; check --input")
    return [InputFile(str(p), p.name, options) for p in files]


def _has_known_suffix(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def _distinct_names(files: list[InputFile]) -> list[InputFile]:
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return files
    return [replace(file, name=f"{number}/{file.name}") for number, file in enumerate(files)]
