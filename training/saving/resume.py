"""Resuming: find a sound checkpoint, and refuse what would silently make it another run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError, did_you_mean
from foundation.fingerprint import short
from foundation.logs import get_logger
from model.checkpoint_file import DamagedCheckpoint
from model.config import ModelConfig
from shards.mixture import Stretch
from training.config import DataConfig, LoggingConfig, TrainingConfig
from training.saving import checkpoint

log = get_logger("training")

FREE = {
    "model": ModelConfig.FREE,
    "data": DataConfig.free(),
    "training": TrainingConfig.free(),
    "logging": LoggingConfig.free(),
}
"""Settings that any resume may change. batch_size and accumulation_steps are judged by their product with the
number of ranks, the paths by the identity of what lies there; the rest needs --allow_change."""

BEFORE: Mapping[str, Mapping[str, Any]] = {"training": {"task": "causal"}, "model": {"architecture": "llama"}}
"""What checkpoints from before there was a choice do not say."""


@dataclass(frozen=True)
class Identity:
    """What makes a run this run and no other."""

    config: Mapping[str, Mapping[str, Any]]  # sections data, model, training, logging as plain values
    vocab_size: int
    dataset: str
    tokenizer: str
    global_batch: int
    mixture: Stretch | None = None
    plan: str = ""
    heads: Mapping[str, Any] | None = None  # of an encoder: names of classes, say


def find_checkpoint(first: Path) -> tuple[dict[str, Any], Path]:
    """The content and path of `first`, or of the newest sound checkpoint before it in the same run.

    A damaged one is named and skipped, and so is the one used instead. `UserError` when none is sound.
    """
    if not first.exists() and first.name != checkpoint.NEWEST:
        checkpoint.load(first)  # says what is missing
    problems = []
    for path in checkpoint.candidates(first):
        try:
            content = checkpoint.load(path)
        except DamagedCheckpoint as error:
            problems.append(str(error))
            log.warning("skipped: %s", error)
            continue
        if problems or path != first:
            log.warning("using %s (step %d) instead", path, content["step"])
        return content, path
    if not problems:
        raise UserError(f"{first}: no such checkpoint; check the path, or leave --resume_from out to start afresh")
    raise UserError("\n  ".join([f"{first}: no checkpoint of this run can be used:", *problems]))


def _plain(value: Any) -> Any:
    """JSON-like form, so that a tuple that went through a file equals itself."""
    return list(value) if isinstance(value, tuple) else value


def differences(saved: Mapping[str, Any], now: Identity) -> dict[str, tuple[Any, Any]]:
    """What differs and matters: setting -> (in the checkpoint, now)."""
    found: dict[str, tuple[Any, Any]] = {}
    for section, settings in now.config.items():
        old = {**BEFORE.get(section, {}), **saved["config"].get(section, {})}
        for key, value in settings.items():
            if key not in FREE.get(section, frozenset()) and key in old and _plain(old[key]) != _plain(value):
                found[key] = (_plain(old[key]), _plain(value))
    mixed = _mixtures(saved, now)
    if mixed and not mixed[0].same_mixture(mixed[1]):
        found["train_data_path"] = (mixed[0].describe(), mixed[1].describe())
    contents = [("dataset", now.dataset)] if not mixed else []
    for key, value in [*contents, ("tokenizer", now.tokenizer)]:
        if saved[key] != value:
            found[key] = (short(saved[key], 12), short(value, 12))
    if saved.get("plan") and now.plan and not found and saved["plan"] != now.plan:
        found["plan"] = (short(saved["plan"], 12), short(now.plan, 12))
    if "heads" in saved and "task" not in found and saved["heads"] != now.heads:
        found["heads"] = (_in_words(saved["heads"]), _in_words(now.heads))
    for key, number in (("vocab_size", now.vocab_size), ("global_batch", now.global_batch)):
        if saved[key] != number:
            found[key] = (saved[key], number)
    return found


def _in_words(heads: Mapping[str, Any] | None) -> str:
    """`mlm, labels neg pos`"""
    parts = [name if kept is True else f"{name} {' '.join(kept)}" for name, kept in (heads or {}).items() if kept]
    return ", ".join(parts) or "none"


def _mixtures(saved: Mapping[str, Any], now: Identity) -> tuple[Stretch, Stretch] | None:
    """The mixture of datasets in the checkpoint and the one now, where either has several."""
    history = saved["state"].get("mixture")
    if not history or now.mixture is None:
        return None
    before = Stretch.from_plain(history[-1])
    return (before, now.mixture) if max(len(before.parts), len(now.mixture.parts)) > 1 else None


def check_resume(saved: Mapping[str, Any], path: Path, now: Identity, allowed: tuple[str, ...]) -> None:
    """`UserError` that shows every difference that is not in `allowed`, or an `allowed` key that means
    nothing."""
    known = {
        "dataset",
        "tokenizer",
        "vocab_size",
        "global_batch",
        "plan",
        "heads",
        *(k for s in now.config.values() for k in s),
    }
    for key in allowed:
        if key not in known:
            raise UserError(f"--allow_change {key}: no such setting{did_you_mean(key, known)}")
    found = differences(saved, now)
    for key in [key for key in found if key in allowed]:
        log.warning("resuming with %s changed from %s to %s", key, *found.pop(key))
    if not found:
        return
    lines = [f"{key}: {old} in the checkpoint, {new} now" for key, (old, new) in found.items()]
    if "global_batch" in found:
        lines.append(f"(batch_size x accumulation_steps x processes; keep it at {found['global_batch'][0]})")
    raise UserError(
        "\n  ".join([f"{path}: this would be another run than the one that was saved:", *lines])
        + f"\n  Use the saved settings, or accept the change with --allow_change {' '.join(found)}"
    )
