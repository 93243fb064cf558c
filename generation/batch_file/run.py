"""Make the texts that a batch file asks for, many at a time, and write them in the file's order."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from foundation.errors import UserError
from foundation.interrupts import tidy_stop
from foundation.output_file import output_file
from foundation.streams import derive_seed
from generation.batch_file.asked import Asked, read_asked
from generation.batch_file.made_from import MadeFrom
from generation.batch_file.row_file import RowFile
from generation.chat import Message
from generation.completion import Completion
from generation.config import GenerationConfig
from generation.show import answer_values
from generation.text import TextGenerator

Row = dict[str, Any]


def run_batch(
    generator: TextGenerator,
    config: GenerationConfig,
    source: Path,
    output: Path | None,
    *,
    overwrite: bool = False,
    stdout: TextIO | None = None,
) -> int:
    """Answer every line of `source`; the number of lines that could not be.

    Writes JSON lines {"line", "prompt" or "messages", "completion", …} or {"line", "error"}, in the file's order: to
    `output`, where rows that an earlier run finished stay as they are; or to `stdout` (standard output) as they come.
    With a seed, each row is the text that its prompt gives alone; without one, rows differ and a run that goes on draws
    what the killed one would have drawn.
    """
    total = sum(1 for _ in read_asked(source))
    if not total:
        raise UserError(f"{source}: holds no prompt; write one a line")
    if output is None:
        bad = 0
        for row in _rows(generator, config, None, read_asked(source), total, 0):
            print(json.dumps(row, ensure_ascii=False), file=stdout or sys.stdout, flush=True)
            bad += "error" in row
        return bad
    rows = RowFile(output_file(output, source))
    numbers = (asked.number for asked in read_asked(source))
    with rows.grow(MadeFrom.of(generator, config, source), numbers, overwrite) as made_from:
        _tell(rows, total)
        if not rows.complete:
            left = itertools.islice(read_asked(source), rows.kept, None)
            with tidy_stop(f"finished rows are kept in {rows.partial}, the same command goes on from there"):
                for row in _rows(generator, config, made_from.drawn_seed, left, total, rows.kept):
                    rows.write(row)
    return rows.bad


def _tell(rows: RowFile, total: int) -> None:
    if rows.complete:
        print(f"{rows.path}: all {total} rows are there already; --overwrite makes them anew", file=sys.stderr)
    elif rows.kept or rows.torn:
        torn = f"; half a row behind them ({rows.torn} bytes) was cut off" if rows.torn else ""
        print(f"{rows.path}: going on after {rows.kept} of {total} rows{torn}", file=sys.stderr)


def _rows(
    generator: TextGenerator, config: GenerationConfig, seed: int | None, lines: Iterable[Asked], total: int, kept: int
) -> Iterator[Row]:
    """The rows of `lines`, in order, with a bar of their progress where somebody looks."""
    used = generator.engine.usage
    before = used.tokens, used.seconds
    with tqdm(total=total, initial=kept, unit="row", disable=None, dynamic_ncols=True) as bar:
        for row in _in_order(_answered(generator, config, seed, lines)):
            if used.seconds > before[1]:
                rate = (used.tokens - before[0]) / (used.seconds - before[1])
                bar.set_postfix_str(f"{rate:.0f} tokens/s", refresh=False)
            bar.update()
            yield row


def _answered(
    generator: TextGenerator, config: GenerationConfig, drawn: int | None, lines: Iterable[Asked]
) -> Iterator[tuple[int, Row]]:
    """Places in `lines` and rows, in the order in which they are done. Lines are read as slots get free."""
    given: dict[int, tuple[int, Asked]] = {}  # what the model is at, by its number there
    faults: list[tuple[int, Row]] = []

    def prompts() -> Iterator[tuple[str | Sequence[Message], int | None]]:
        numbers = 0
        for place, asked in enumerate(lines):
            if asked.prompt is None:
                faults.append((place, {"line": asked.number, "error": asked.error}))
            else:
                given[numbers] = place, asked
                numbers += 1
                seed = config.seed if drawn is None else derive_seed(drawn, "row", asked.number)
                yield _said(generator, asked.prompt), seed

    asked_for, chances = itertools.tee(prompts())
    done = generator.complete_each((prompt for prompt, _ in asked_for), config, seeds=(seed for _, seed in chances))
    for number, result in done:
        place, asked = given.pop(number)
        yield place, {"line": asked.number, **_values(asked, result)}
        yield from faults
        faults.clear()
    yield from faults


def _said(generator: TextGenerator, prompt: str | list[Message]) -> str | list[Message]:
    """A chat model answers a prompt, as it does one of --prompt."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) and generator.can_chat else prompt


def _values(asked: Asked, result: list[Completion] | UserError) -> Row:
    assert asked.prompt is not None
    return {"error": str(result)} if isinstance(result, UserError) else answer_values(asked.prompt, result)


def _in_order(answered: Iterable[tuple[int, Row]]) -> Iterator[Row]:
    """Rows by their places 0, 1, …; those that are done early wait."""
    early: dict[int, Row] = {}
    upcoming = 0
    for place, row in answered:
        early[place] = row
        while upcoming in early:
            yield early.pop(upcoming)
            upcoming += 1
