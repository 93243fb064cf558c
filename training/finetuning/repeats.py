"""The same run with several seeds, and what came out: mean and spread in summary.json.

OUT_DIR/seed_N/         a run each
OUT_DIR/summary.json    the measured values of every run, their means, standard deviations and extremes
"""

from __future__ import annotations

import gc
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from foundation import atomic, logs
from training.devices.compilation import forget_compiled
from training.loggers.json_lines import read_lines
from training.run import run_training
from training.run_config import RunConfig
from training.saving.model_output import saved_step
from training.saving.run_directory import RunDirectory

log = logs.get_logger("training")

SUMMARY = "summary.json"
DECIDING = ("val_error_ema", "val_error", "val_loss_ema", "val_loss")
"""What the best run is told by: the first of these that was measured."""


def train(config: RunConfig) -> int:
    """Train as `config` says, once with each of its `seeds` where it names any; gives the exit code."""
    training, directory = config.training, config.directory
    if not training.seeds:
        return _once(config)
    if config.flags.overwrite and is_main():
        (directory / SUMMARY).unlink(missing_ok=True)
    for seed in training.seeds:
        log.info("seed %d: %s", seed, directory / f"seed_{seed}")
        code = _once(config.with_training(seed=seed, seeds=(), out_dir=directory / f"seed_{seed}"))
        if code or config.flags.dry_run:
            return code
    if is_main():
        summary = summarise(_runs(config))
        atomic.write_text(directory / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        _tell(summary, directory / SUMMARY)
    return 0


def is_main() -> bool:
    """Whether this process, of those that torchrun started, is the one that talks and writes."""
    return os.environ.get("RANK", "0") == "0"


def best_model(config: RunConfig) -> Path:
    """The directory of the best model that `train(config)` left, over all seeds."""
    directory = config.directory
    if config.training.seeds:
        directory /= str(summarise(_runs(config))["best_run"])
    return RunDirectory(directory).best


def _runs(config: RunConfig) -> dict[int, Path]:
    """The directory of each seed's run."""
    return {seed: config.directory / f"seed_{seed}" for seed in config.training.seeds}


def _once(config: RunConfig) -> int:
    """One run, which leaves nothing of itself in the process."""
    try:
        return run_training(config)
    finally:
        if is_main():
            logs.setup()  # closes the run's log file
        forget_compiled()
        gc.unfreeze()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def summarise(runs: Mapping[int, Path]) -> dict[str, Any]:
    """What the runs of several seeds measured with their best models, and the spread over them.

    Spread is the standard deviation of a sample (n - 1); null for a single run.
    """
    measured = {seed: measured_by(path) for seed, path in runs.items()}
    keys = [key for key in next(iter(measured.values())) if all(key in values for values in measured.values())]
    columns = {key: [values[key] for values in measured.values()] for key in keys}
    deciding = next((key for key in DECIDING if key in columns), None)
    best = min(runs, key=lambda seed: measured[seed][deciding]) if deciding else next(iter(runs))
    return {
        "seeds": list(runs),
        "mean": {key: statistics.fmean(values) for key, values in columns.items()},
        "std": {key: _spread(values) for key, values in columns.items()},
        "min": {key: min(values) for key, values in columns.items()},
        "max": {key: max(values) for key, values in columns.items()},
        "runs": {f"seed_{seed}": measured[seed] for seed in runs},
        "best_run": f"seed_{best}",
    }


def measured_by(path: Path) -> dict[str, float]:
    """What the best model of a run scored: the validation's values at its step, and `test_…` of the test split."""
    directory = RunDirectory(path)
    step = saved_step(directory.best)
    row = next((row for row in read_lines(directory.metrics) if row["step"] == step and "val_loss" in row), {})
    values = {key: float(value) for key, value in row.items() if key.startswith("val_") and value is not None}
    file = directory.verdicts["test"]
    if file.is_file():
        facts = json.loads(file.read_bytes())
        values |= {f"test_{key}": value for key, value in facts.items() if isinstance(value, float)}
    return values


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _tell(summary: Mapping[str, Any], path: Path) -> None:
    for key in ("test_accuracy", "val_accuracy_ema", "val_accuracy", "val_loss_ema", "val_loss"):
        if key in summary["mean"]:
            spread = summary["std"][key]
            log.info(
                "%d seeds: %s %.4f%s, from %.4f to %.4f; %s",
                len(summary["seeds"]),
                key,
                summary["mean"][key],
                "" if spread is None else f" ± {spread:.4f}",
                summary["min"][key],
                summary["max"][key],
                path,
            )
            return
