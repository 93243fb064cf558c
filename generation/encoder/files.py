"""Many texts from a file: their classes as JSON lines, their vectors as a NumPy array."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from foundation.atomic import atomic_path
from foundation.errors import UserError
from foundation.output_file import output_file
from generation.encoder.show import classified
from generation.encoder.text import TextEncoder
from generation.lines import Line, read_lines

KEY = "text"
FAULTS_SHOWN = 3


def classify_file(
    encoder: TextEncoder, source: Path, output: Path | None, stdout: TextIO, as_json: bool
) -> tuple[int, int]:
    """Classify every text of `source`; how many there were, and how many lines could not be used.

    Writes JSON lines {"line", "text", "label", …} or {"line", "error"}, in the file's order, to `output` (complete or
    not at all), which must not be `source`; or to `stdout` as they come, there for people unless `as_json`.
    """
    if output is None:
        return _classify(encoder, source, stdout, as_json)
    with atomic_path(output_file(output, source)) as temporary, temporary.open("w", encoding="utf-8") as target:
        return _classify(encoder, source, target, True)


def _classify(encoder: TextEncoder, source: Path, target: TextIO, as_json: bool) -> tuple[int, int]:
    waiting: deque[Line] = deque()  # lines whose answers are still to come

    def texts() -> Iterator[str]:
        for line in read_lines(source, KEY, "a file to classify", "--classify_file"):
            waiting.append(line)
            if line.text is not None:
                yield line.text

    good = bad = 0
    for answer in encoder.classify_each(texts()):
        while waiting[0].text is None:
            _write(target, waiting.popleft(), None, as_json)
            bad += 1
        line = waiting.popleft()
        row = {"text": line.text, **classified(answer)}
        _write(target, line, row if as_json else f"{answer.label}\t{answer.confidence:.4f}\t{line.text}", as_json)
        good += 1
    for line in waiting:
        _write(target, line, None, as_json)
        bad += 1
    if not good and not bad:
        raise UserError(f"{source}: holds no text; write one a line")
    return good, bad


def _write(target: TextIO, line: Line, row: Any, as_json: bool) -> None:
    if as_json:
        values = {"line": line.number, **(row or {"error": line.error})}
        target.write(json.dumps(values, ensure_ascii=False) + "\n")
    else:
        target.write(f"{row or f'(line {line.number}: {line.error})'}\n")


def embed_file(encoder: TextEncoder, source: Path, output: Path) -> tuple[int, int]:
    """Write the vectors of the texts of `source` to `output`, a .npy file of float32 (texts, width); its shape.

    Row n is line n of a .txt file, blank lines among them, or record n of a .jsonl file. A line that can't be used
    is a `UserError` before any work: its row would have no meaning.
    """
    if output.suffix != ".npy":
        raise UserError(f"--output {output}: vectors are written as .npy; give a name that ends so")
    file = output_file(output, source)
    count, faults = 0, []
    for line in _texts(source):
        count += 1
        if line.error is not None:
            faults.append(f"line {line.number}: {line.error}")
    if faults:
        more = f" and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise UserError(f"{source}: {'; '.join(faults[:FAULTS_SHOWN])}{more}; mend or remove these lines")
    if not count:
        raise UserError(f"{source}: holds no text; write one a line")
    shape = (count, encoder.model.config.hidden_size)
    with atomic_path(file) as temporary, temporary.open("wb") as target:
        np.lib.format.write_array_header_1_0(target, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for vectors in encoder.embed_each(line.text or "" for line in _texts(source)):
            target.write(vectors.astype("<f4").tobytes())
    return shape


def _texts(source: Path) -> Iterator[Line]:
    return read_lines(source, KEY, "a file to embed", "--embed_file", keep_blank=True)
