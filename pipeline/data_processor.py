"""The pipeline from Python: `DataProcessor` validates, cleans and tokenizes with a few calls."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foundation import atomic
from foundation.errors import UserError, did_you_mean
from pipeline.cleaning.jsonl_file import Checked, clean_jsonl
from pipeline.config import PipelineConfig
from pipeline.process import Result, process
from pipeline.publishing.layout import STATS


class DataProcessor:
    """Turns JSONL (or any other input of the pipeline) into token shards.

    `tokenizer_path`: a tokenizer directory or `tokenizer.json`; None trains one on the input. `max_length`: longer
    documents are cut into pieces of at most so many tokens, terminator included, losing nothing; None cuts none.
    Work is saved every `save_interval` chunks of `chunk_size` bytes of input: a run that is killed has lost no more of
    each worker's work, and calling it again goes on there. (So one task reads `chunk_size * save_interval` bytes; their
    product, not the two alone, changes how inputs are fingerprinted.) `settings`: any others of the section `pipeline`
    in config.yaml, by name.

    A script must call it under `if __name__ == "__main__":`, since worker processes import the script.

    >>> from pipeline import DataProcessor
    >>> processor = DataProcessor("tokenizer", max_length=64)
    >>> checked = processor.validate_and_clean_jsonl("raw.jsonl", "clean.jsonl")
    >>> checked.valid, checked.invalid, checked.reasons
    (3, 1, {'invalid_json': 1})
    >>> result = processor.process_dataset("clean.jsonl", "dataset/mine")
    >>> result.changed, result.directory
    (True, PosixPath('dataset/mine'))
    >>> processor.save_statistics("statistics.json")
    """

    def __init__(
        self,
        tokenizer_path: str | Path | None,
        max_length: int | None = None,
        chunk_size: int = 1 << 20,
        save_interval: int = 8,
        **settings: Any,
    ) -> None:
        given = {"tokenizer": tokenizer_path, "max_length": max_length, "block_bytes": chunk_size * save_interval}
        twice = sorted(settings.keys() & {*given, "input", "output"})
        if twice:
            raise UserError(f"DataProcessor: {', '.join(twice)} has an argument of its own")
        self._settings = {**given, **settings}
        self._validated: dict[str, Checked] = {}
        self._datasets: dict[str, Path] = {}
        self._config([], Path("unused"))

    def _config(self, inputs: list[str], output: Path) -> PipelineConfig:
        try:
            return PipelineConfig(**{**self._settings, "input": inputs or ["unused"], "output": output})
        except ValidationError as error:
            problems = []
            for problem in error.errors():
                name = str(problem["loc"][0]) if problem["loc"] else ""
                hint = did_you_mean(name, PipelineConfig.model_fields) if problem["type"] == "extra_forbidden" else ""
                problems.append(f"{name or 'settings'}: {problem['msg'].removeprefix('Value error, ')}{hint}")
            raise UserError("DataProcessor: " + "; ".join(problems)) from None

    def validate_and_clean_jsonl(self, input_path: str | Path, output_path: str | Path) -> Checked:
        """Write the valid records of a JSONL file, their texts cleaned, to the new file `output_path`, and count.

        Other fields stay as they are. Invalid records (broken JSON, no text, empty once it is cleaned, …) are listed in
        NAME.quarantine.jsonl beside it, with offset, line, reason and raw bytes. Raises `UserError` when the output
        exists or the input cannot be read.
        """
        source, target = Path(input_path), Path(output_path)
        checked = clean_jsonl(source, target, self._config([str(source)], target))
        self._validated[source.name] = checked
        return checked

    def process_dataset(
        self, input_path: str | Path | list[str | Path], output_path: str | Path, resume: bool = True
    ) -> Result:
        """Make the dataset directory `output_path` of a file, a directory, a glob, a URL, or a list of them.

        `resume` goes on with half-done work and updates a finished dataset with new input; without it, that is refused.
        Returns the manifest and whether anything changed. Raises `UserError`, as `python -m pipeline.process` would.
        """
        inputs = [str(path) for path in (input_path if isinstance(input_path, list) else [input_path])]
        result = process(self._config(inputs, Path(output_path)), resume=resume)
        self._datasets[str(output_path)] = result.directory
        return result

    def save_statistics(self, path: str | Path) -> None:
        """Write what was done so far as JSON: `validated`, by file name, and `datasets`, the stats.json of each."""
        if not self._validated and not self._datasets:
            raise UserError(f"{path}: there is nothing to write yet; call process_dataset first")
        validated = {
            name: {key: value for key, value in asdict(checked).items() if key != "quarantine"}
            for name, checked in self._validated.items()
        }
        datasets = {name: json.loads((place / STATS).read_bytes()) for name, place in self._datasets.items()}
        atomic.write_json(Path(path), {"validated": validated, "datasets": datasets})
