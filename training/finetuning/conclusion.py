"""The end of a classifier's training: calibrate the models it hands out, judge the best one, write it down.

val_metrics.json, test_metrics.json   accuracy, F1, precision, recall, each class, the confusion matrix, calibration
confusion_matrix.png                  of the test split, or of the validation split where there is no other
best/, final/                         get their temperature (`mateconv.temperature` in config.json)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foundation import atomic
from foundation.logs import get_logger
from model.base import LanguageModel
from model.directory import CONFIG, load_model_directory
from shards.dataset import Dataset
from shards.labelled import label_counts
from training.batching.datasets import TrainingData
from training.devices.distributed import World
from training.finetuning.calibration import confidence_sums, expected_calibration_error, fit_temperature
from training.finetuning.confusion import draw_confusion
from training.finetuning.metrics import confusion, report
from training.saving.model_card import add_verdict
from training.saving.run_directory import RunDirectory

log = get_logger("training")


@dataclass(frozen=True)
class Judge:
    """How a classifier is judged. `scores(model, dataset)` gives this rank's share of the logits (N, L) float64 and
    labels (N,) int64; `identity(dataset)` names what is measured."""

    labels: tuple[str, ...]
    identity: Callable[[Dataset], str]
    scores: Callable[[LanguageModel, Dataset], tuple[Tensor, Tensor]]
    world: World
    device: torch.device

    def verdict(
        self, model: LanguageModel, dataset: Dataset, temperature: float | None
    ) -> tuple[dict[str, Any], float]:
        """What a metrics file says, and the temperature: the given one, or the one that fits this data best."""
        logits, labels = self.scores(model, dataset)
        if temperature is None:
            temperature = fit_temperature(logits, labels, self.world.add_up_on_cpu)
        matrix = confusion(labels.numpy(), logits.argmax(dim=1).numpy(), len(self.labels))
        whole = self._summed(torch.from_numpy(matrix).double()).numpy().astype(np.int64)
        plain, scaled = (self._summed(confidence_sums(logits, labels, value)) for value in (1.0, temperature))
        documents = max(1, int(whole.sum()))
        calibration = {
            "temperature": temperature,
            "loss": float(plain[-1]) / documents,
            "loss_calibrated": float(scaled[-1]) / documents,
            "calibration_error": expected_calibration_error(plain),
            "calibration_error_calibrated": expected_calibration_error(scaled),
        }
        return {**report(whole, self.labels), **calibration}, temperature

    def _summed(self, tensor: Tensor) -> Tensor:
        return self.world.add_up_on_cpu(tensor)


def conclude(judge: Judge, directory: RunDirectory, data: TrainingData) -> None:
    """Write everything that is not there yet, or that belongs to another model. Every rank calls it."""
    splits = {"val": data.validation, "test": labelled_test(data)}
    best = directory.best
    if not judge.world.same_everywhere(best.is_dir()):
        return
    if judge.world.same_everywhere(not _is_whole(directory, judge, splits)):
        _judge_best(judge, directory, splits)
    if splits["test"] is None and judge.world.is_main:
        log.info("the dataset has no labelled test split: what best/ is worth on new texts is not measured")
    final = directory.final
    if splits["val"] is not None and judge.world.same_everywhere(final.is_dir() and _temperature(final) is None):
        same = _step(final) == _step(best)
        found = _temperature(best) if same else judge.verdict(_loaded(final, judge), splits["val"], None)[1]
        if judge.world.is_main and found is not None:
            _note_temperature(final, found)


def _judge_best(judge: Judge, directory: RunDirectory, splits: dict[str, Dataset | None]) -> None:
    """Calibrate best/ on the validation split, then judge it on both."""
    model = _loaded(directory.best, judge)
    temperature: float | None = None
    for split, dataset in splits.items():
        if dataset is None:
            continue
        log.info("judging best/ on the %s split: %s documents", split, f"{sum(label_counts(dataset).values()):,}")
        facts, found = judge.verdict(model, dataset, temperature if split == "val" else temperature or 1.0)
        if split == "val":
            temperature = found
        if not judge.world.is_main:
            continue
        head = {"step": _step(directory.best), "split": split, "measured": judge.identity(dataset)}
        if split == "val":
            _note_temperature(directory.best, found)
        name = "validation" if split == "val" else "test"
        if split == "test" or splits["test"] is None:
            title = f"{name} split, step {head['step']}"
            draw_confusion(directory.confusion, np.array(facts["confusion_matrix"]), judge.labels, title)
        text = json.dumps({**head, **facts}, indent=1, ensure_ascii=False)
        atomic.write_text(directory.verdicts[split], f"{text}\n")
        add_verdict(directory.best, split, facts)
        log.info(
            "%s of best/ (step %s): accuracy %.2f%%, weighted F1 %.4f, macro F1 %.4f over %s documents; %s",
            name,
            head["step"],
            100 * facts["accuracy"],
            facts["f1_weighted"],
            facts["f1_macro"],
            f"{facts['documents']:,}",
            directory.verdicts[split],
        )


def labelled_test(data: TrainingData) -> Dataset | None:
    """The test splits of the training datasets as one; None where no document there has a label."""
    opened = [Dataset.open(dataset.path, "test") for dataset in data.datasets if dataset.manifest is not None]
    labelled = [dataset for dataset in opened if label_counts(dataset)]
    return Dataset.join(labelled) if labelled else None


def _is_whole(directory: RunDirectory, judge: Judge, splits: dict[str, Dataset | None]) -> bool:
    """Whether all files are there and about the model that is best now. The main rank's answer counts."""
    if not judge.world.is_main:
        return True
    there = {split: dataset for split, dataset in splits.items() if dataset is not None}
    for split, dataset in there.items():
        known = _read(directory.verdicts[split])
        if known.get("step") != _step(directory.best) or known.get("measured") != judge.identity(dataset):
            return False
    calibrated = "val" not in there or _temperature(directory.best) is not None
    return calibrated and (not there or directory.confusion.is_file())


def _loaded(path: Path, judge: Judge) -> LanguageModel:
    return load_model_directory(path, judge.device, torch.float32).model


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _step(path: Path) -> int | None:
    step = _read(path / CONFIG).get("mateconv", {}).get("step")
    return step if isinstance(step, int) else None


def _temperature(path: Path) -> float | None:
    found = _read(path / CONFIG).get("mateconv", {}).get("temperature")
    return found if isinstance(found, float) else None


def _note_temperature(path: Path, temperature: float) -> None:
    """Write the temperature into a model directory."""
    config = _read(path / CONFIG)
    config["mateconv"] = {**config.get("mateconv", {}), "temperature": temperature}
    atomic.write_text(path / CONFIG, json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
