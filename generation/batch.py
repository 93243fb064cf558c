"""Many prompts from a file: a text file with one prompt a line, or JSON lines with the key `prompt`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from foundation.atomic import atomic_path
from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.prompts import is_text
from generation.text import TextGenerator


@dataclass(frozen=True)
class Row:
    """One line of the file: a prompt, or what is wrong with the line."""

    line: int
    prompt: str | None
    error: str | None


def read_rows(path: Path) -> Iterator[Row]:
    """The lines of a .txt or .jsonl file that are not blank, numbered from 1."""
    if path.suffix not in (".txt", ".jsonl"):
        raise UserError(f"{path}: a batch file is .txt (a prompt a line) or .jsonl (with the key prompt)")
    if not path.is_file():
        raise UserError(f"{path}: no such batch file; check --batch_file")
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if raw.strip():
                yield _parse(number, raw.rstrip(b"\r\n"), json_lines=path.suffix == ".jsonl")


def _parse(number: int, raw: bytes, json_lines: bool) -> Row:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return Row(number, None, f"not UTF-8 text at byte {error.start + 1}")
    if not json_lines:
        return Row(number, text, None)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Row(number, None, f"not JSON: {error}")
    prompt = value.get("prompt") if isinstance(value, dict) else None
    if not isinstance(prompt, str):
        return Row(number, None, "needs an object with a text under 'prompt'")
    if not is_text(prompt):
        return Row(number, None, "the prompt holds half of a surrogate pair")
    return Row(number, prompt, None)


def run_batch(
    generator: TextGenerator,
    config: GenerationConfig,
    batch_size: int,
    source: Path,
    output: Path | None,
    stdout: TextIO,
) -> int:
    """Complete every prompt of `source`; the number of lines that could not be.

    Writes JSON lines {"line", "prompt", "completion"} or {"line", "error"}, in the file's order, to `output`
    (complete or not at all) or to `stdout` as they come.
    """
    rows = list(read_rows(source))
    if not rows:
        raise UserError(f"{source}: holds no prompt; write one a line")
    if output is None:
        return _write(generator, config, batch_size, rows, stdout)
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8") as target:
        return _write(generator, config, batch_size, rows, target)


def _write(generator: TextGenerator, config: GenerationConfig, batch_size: int, rows: list[Row], target: TextIO) -> int:
    for start in range(0, len(rows), batch_size):
        group = rows[start : start + batch_size]
        prompts = [row.prompt for row in group if row.prompt is not None]
        completions = iter(generator.batch_generate(prompts, config, batch_size=batch_size))
        for row in group:
            result: dict[str, Any] = {"line": row.line}
            if row.prompt is None:
                result["error"] = row.error
            else:
                result |= {"prompt": row.prompt, "completion": next(completions)}
            target.write(json.dumps(result, ensure_ascii=False) + "\n")
        target.flush()
    return sum(row.error is not None for row in rows)
