"""Many prompts from a file: a text file with one prompt a line, or JSON lines with the key `prompt`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from foundation.atomic import atomic_path
from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.lines import Line, read_lines
from generation.text import TextGenerator


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
    rows = list(read_lines(source, "prompt", "a batch file", "--batch_file"))
    if not rows:
        raise UserError(f"{source}: holds no prompt; write one a line")
    if output is None:
        return _write(generator, config, batch_size, rows, stdout)
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8") as target:
        return _write(generator, config, batch_size, rows, target)


def _write(
    generator: TextGenerator, config: GenerationConfig, batch_size: int, rows: list[Line], target: TextIO
) -> int:
    for start in range(0, len(rows), batch_size):
        group = rows[start : start + batch_size]
        prompts = [row.text for row in group if row.text is not None]
        completions = iter(generator.batch_generate(prompts, config, batch_size=batch_size))
        for row in group:
            result: dict[str, Any] = {"line": row.number}
            if row.text is None:
                result["error"] = row.error
            else:
                result |= {"prompt": row.text, "completion": next(completions)}
            target.write(json.dumps(result, ensure_ascii=False) + "\n")
        target.flush()
    return sum(row.error is not None for row in rows)
