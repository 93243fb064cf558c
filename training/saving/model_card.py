"""The model card: README.md of best/ and final/, for people and for the Hugging Face hub, filled from the run alone.

It names no path, host or time of day: the same run writes the same card. Source of the front matter's keys:
https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from foundation import atomic, fingerprint
from foundation.page.wording import plural, short, size
from model.config import ModelConfig
from model.directory import CARD
from shards.dataset import Dataset
from training.config import DataConfig, TrainingConfig
from training.saving.card_usage import limits, usage
from training.state import RunState

if TYPE_CHECKING:
    from training.parts import Parts

SHOWN_INPUTS = 8  # file names of a dataset's inputs
PIPELINES = {"classify": "text-classification", "mlm": "fill-mask", "mlm_nsp": "fill-mask"}
PRIVATE = ("train_data_path", "val_data_path", "tokenizer_path", "out_dir", "init_from", "device", "process_timeout")
"""Settings that say where things lie on somebody's machine."""
NAMES = {"llama": "decoder", "bert": "BERT", "modernbert": "ModernBERT"}
VERDICTS = "<!-- verdicts -->"
SECTIONS: Mapping[str, type[DataConfig] | type[ModelConfig] | type[TrainingConfig]] = {
    "data": DataConfig, "model": ModelConfig, "training": TrainingConfig,
}  # fmt: skip


def model_card(parts: Parts, state: RunState) -> str:
    """The card of the model that the run is at `state`."""
    config = parts.snapshot.model.config
    parameters = short(parts.snapshot.model.num_parameters())
    name = NAMES[config.architecture or "llama"]
    average = parts.snapshot.average is not None
    blocks = [
        f"# {name[0].upper()}{name[1:]} of {parameters} parameters, task {parts.task.name}",
        f"Trained with MateConv up to step {state.step:,} ({short(state.tokens)} tokens). The weights are "
        + ("the moving average over the steps." if average else "those of this step."),
        "## Use",
        usage(parts.task.name, parts.task.data, _chat_trained(parts)),
        "## Model",
        _model(parts),
        "## Data",
        *(_dataset(dataset, weight) for dataset, weight in zip(*_sources(parts), strict=True)),
        "## Training",
        _training(parts, state),
        "## Evaluation",
        _evaluation(parts, state),
        "## Limits",
        limits(parts.task.name, _chat_trained(parts)),
        "## License",
        _license(parts.logging.license),
    ]
    return f"---\n{_front_matter(parts)}---\n\n" + "\n\n".join(blocks) + "\n"


def add_verdict(directory: Path, split: str, facts: Mapping[str, Any]) -> None:
    """Add what a finished classifier's `split` came to (the content of its metrics file) to the card in `directory`."""
    path = directory / CARD
    if not path.is_file():
        return
    rows = [
        f"| {label} on the {split} split | {facts[key]:.4f} |"
        for key, label in (("accuracy", "accuracy"), ("f1_macro", "macro F1"), ("f1_weighted", "weighted F1"))
    ]
    text = path.read_text(encoding="utf-8")
    if VERDICTS in text and rows[0] not in text:
        atomic.write_text(path, text.replace(VERDICTS, "\n".join([*rows, VERDICTS])))


def _front_matter(parts: Parts) -> str:
    chat = _chat_trained(parts)
    config = parts.snapshot.model.config
    values: dict[str, Any] = {"license": parts.logging.license or "unknown"}
    languages = list(parts.logging.language) or _filtered_languages(parts.task.data.datasets)
    if languages:
        values["language"] = languages
    values |= {
        "library_name": "transformers",
        "pipeline_tag": PIPELINES.get(parts.task.name, "text-generation"),
        "tags": [
            "mateconv",
            str(config.architecture or "llama"),
            parts.task.name,
            *(["conversational"] if chat else []),
        ],
    }
    text: str = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    return text


def _filtered_languages(datasets: Sequence[Dataset]) -> list[str]:
    """The languages that all datasets were filtered for; none where one was not."""
    kept = [dataset.manifest.settings.get("languages") if dataset.manifest else None for dataset in datasets]
    return sorted({code for codes in kept for code in codes or ()}) if all(kept) else []


def _chat_trained(parts: Parts) -> bool:
    return bool(parts.task.provenance().get("chat_trained"))


def _table(rows: Mapping[str, Any]) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items() if value is not None)]
    )


def _model(parts: Parts) -> str:
    model, data = parts.snapshot.model, parts.task.data
    config, kind = model.config, data.tokenizer.json()["model"]["type"]
    heads = f"{config.num_attention_heads}"
    if not config.is_encoder:
        heads += f", {config.num_key_value_heads} of keys and values, {config.head_size} wide"
    return _table(
        {
            "parameters": f"{model.num_parameters():,}",
            "layers": config.num_hidden_layers,
            "width": config.hidden_size,
            "attention heads": heads,
            "context": plural(config.max_position_embeddings, "token"),
            "vocabulary": f"{plural(data.vocab_size, 'token')} ({kind})",
        }
    )


def _sources(parts: Parts) -> tuple[Sequence[Dataset], Sequence[Any]]:
    return parts.task.data.datasets, parts.task.data.weights


def _dataset(dataset: Dataset, weight: Any) -> str:
    """A dataset by its manifest: how much there is, of which files, in which scripts."""
    rows: dict[str, Any] = {"weight in the mixture": weight}
    if dataset.manifest is None:
        rows["train"] = plural(dataset.tokens, "token")
    else:
        manifest = dataset.manifest
        for split, entry in manifest.splits.items():
            if entry.documents:
                amount = f"{plural(entry.documents, 'document')}, {plural(entry.tokens, 'token')}"
                rows[split] = f"{amount}, {size(entry.text_bytes)} of text"
        names = [_plain(Path(entry.name).name) for entry in manifest.inputs]
        more = f" and {len(names) - SHOWN_INPUTS} more" if len(names) > SHOWN_INPUTS else ""
        rows["files"] = ", ".join(names[:SHOWN_INPUTS]) + more or None
        rows["characters"] = _scripts(dataset.path)
    rows["fingerprint"] = f"`{fingerprint.short(dataset.identity)}`"
    return f"### {_plain(dataset.path.name)}\n\n{_table(rows)}"


def _scripts(dataset: Path) -> str | None:
    """`latin 75%, han 18%`, of the dataset's statistics."""
    try:
        shares = json.loads((dataset / "stats.json").read_bytes())["characters"]["script_shares"]
        ordered = sorted(shares.items(), key=lambda item: -item[1])
        return ", ".join(f"{script} {share:.0%}" for script, share in ordered if share >= 0.01) or None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # the statistics belong to people: a run needs none


def _plain(name: str) -> str:
    """A file's name as text of a table."""
    return "".join(f"\\{sign}" if sign in "\\`*_|<>[]#" else sign for sign in " ".join(name.split()))


def _training(parts: Parts, state: RunState) -> str:
    devices = parts.snapshot.precision.device.type
    passes = state.sample / parts.samples.samples_per_epoch if parts.samples.samples_per_epoch else 0
    rows = {
        "steps": f"{state.step:,}",
        "tokens": f"{state.tokens:,}",
        "passes over the data": f"{passes:.2f}",
        "samples a step": f"{parts.plan.global_batch:,}",
        "devices": f"{parts.world.size} x {devices.upper()}",
        "products computed in": str(parts.snapshot.precision.dtype).removeprefix("torch."),
        "steps skipped": state.skipped or None,
        "started from": "another model's weights" if parts.training.init_from is not None else None,
    }
    text: str = yaml.safe_dump(_settings(parts.snapshot.identity.config), allow_unicode=True, sort_keys=False)
    return f"{_table(rows)}\n\nSettings that are not MateConv's defaults:\n\n```yaml\n{text}```"


def _settings(config: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, kind in SECTIONS.items():
        usual = kind().model_dump(mode="json")
        changed = {key: value for key, value in config[name].items()
                   if key not in PRIVATE and key in usual and value != usual[key]}  # fmt: skip
        if changed:
            found[name] = changed
    return found


def _evaluation(parts: Parts, state: RunState) -> str:
    """The last validation, which best/ always comes from."""
    measured = state.validated
    if measured is None or parts.validation is None:
        return "None: the run had no validation data."
    suffix = "_ema" if parts.snapshot.average is not None else ""
    values = {key.removesuffix(suffix): value for key, value in measured["values"].items() if key.endswith(suffix)}
    rows = {key.replace("_", " "): f"{value:.4f}" for key, value in values.items() if key.startswith("val_")}
    loss = values.get("val_loss")
    if parts.task.name in ("causal", "chat") and loss is not None and loss < 20:
        rows["val perplexity"] = f"{math.exp(loss):.2f}"
    older = "" if measured["step"] == state.step else f" (at step {measured['step']:,})"
    data = parts.task.data.validation
    text = (
        f"On {plural(data.tokens, 'token')} that training never saw{older}; losses in nats a prediction:"
        if data
        else ""
    )
    return f"{text}\n\n{_table(rows)}\n{VERDICTS}"


def _license(license: str | None) -> str:
    if license is None:
        return "Unknown: whoever trained the model has not said (setting `license`)."
    return f"{license}, as whoever trained the model says."
