"""Find input files and the source that reads each."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.sources.base import Source
from pipeline.sources.jsonl import JsonLinesSource
from pipeline.sources.text import TextSource

JSONL_SUFFIXES = (".jsonl", ".ndjson")
TEXT_SUFFIXES = (".txt", ".text", ".md")
SUFFIXES = tuple(s + end for s in (*JSONL_SUFFIXES, *TEXT_SUFFIXES) for end in ("", ".gz"))


@dataclass(frozen=True)
class InputFile:
    """One file to read. `name` is how the dataset names it: relative to what the user gave, never a whole path."""

    path: Path
    name: str


def source_for(path: Path, config: PipelineConfig) -> Source:
    """The source that reads a file, by its suffix."""
    name = path.name.lower().removesuffix(".gz")
    return JsonLinesSource() if name.endswith(JSONL_SUFFIXES) else TextSource(config.text_documents)


def find_inputs(patterns: list[str]) -> list[InputFile]:
    """The input files in order: patterns as given, files within a directory or glob sorted by name.

    Raises `UserError` for what is missing, unreadable or holds no text.
    """
    found: list[InputFile] = []
    for pattern in patterns:
        found.extend(_expand(pattern))
    seen: dict[Path, str] = {}
    for file in found:
        real = file.path.resolve()
        if real in seen:
            raise UserError(f"{file.path}: given twice (also as {seen[real]}); name every file once")
        seen[real] = str(file.path)
    return _distinct_names(found)


def _expand(pattern: str) -> list[InputFile]:
    path = Path(pattern)
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file() and _has_known_suffix(p))
        if not inside:
            raise UserError(f"{path}: no text in this directory; looked for {', '.join(SUFFIXES)}")
        return [InputFile(p, p.relative_to(path).as_posix()) for p in inside]
    if path.is_file():
        if not _has_known_suffix(path):
            raise UserError(f"{path}: unknown kind of file; its name should end in one of {', '.join(SUFFIXES)}")
        return [InputFile(path, path.name)]
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    files = [p for p in matches if p.is_file() and _has_known_suffix(p)]
    if not files:
        raise UserError(f"{pattern}: no such file or directory; check --input")
    return [InputFile(p, p.name) for p in files]


def _has_known_suffix(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def _distinct_names(files: list[InputFile]) -> list[InputFile]:
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return files
    return [InputFile(file.path, f"{number}/{file.name}") for number, file in enumerate(files)]
