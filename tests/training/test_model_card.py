"""The model card: what the run says of the model, in the form that the hub reads; its code runs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from training.saving.card_usage import HERE

RUN = ("--max_steps", "4", "--eval_interval", "2", "--warmup_steps", "1", "--lr_scheduler", "constant", "--license",
       "apache-2.0", "--preflight", "false")  # fmt: skip


def front_matter(card: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes."""
    values: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return values


def run_code(directory: Path, name: str = "README.md") -> None:
    """Run the card's Python as it stands, but for the directory's name."""
    (code,) = (part.split("```")[0] for part in (directory / name).read_text().split("```python\n")[1:])
    assert HERE in code
    exec(compile(code.replace(HERE, str(directory)), name, "exec"), {})


def test_the_card_says_what_the_run_was(command: Any, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = command.call(*RUN, "--use_ema")
    assert done.returncode == 0, done.stderr
    final, best = ((command.directory / "out" / name / "README.md").read_text() for name in ("final", "best"))
    assert front_matter(final) == {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["mateconv", "llama", "causal"],
    }
    rows = [row for row in command.rows() if "val_loss_ema" in row]
    last, lowest = rows[-1], min(rows, key=lambda row: row["val_loss_ema"])
    for card, row in ((final, last), (best, lowest)):
        assert f"up to step {row['step']}" in card and "moving average" in card
        assert f"| val loss | {row['val_loss_ema']:.4f} |" in card
        assert f"| val perplexity | {math.exp(row['val_loss_ema']):.2f} |" in card
    manifest = json.loads((dataset / "manifest.json").read_text())["splits"]
    for split in ("train", "val"):
        entry = manifest[split]
        assert f"| {split} | {entry['documents']:,} documents, {entry['tokens']:,} tokens, " in final
    settings = yaml.safe_load(final.split("```yaml\n")[1].split("```")[0])
    assert settings["training"]["lr_scheduler"] == "constant" and settings["training"]["use_ema"] is True
    assert settings["model"]["hidden_size"] == 32
    assert "| tokens | " + f"{rows[-1]['tokens']:,}" in final and "### tiny\n" in final
    assert str(dataset.parent) not in final and str(command.directory) not in final and os.uname().nodename not in final
    run_code(command.directory / "out" / "final")
    assert "Once upon" not in capsys.readouterr().out  # what follows the prompt


def test_a_resumed_run_writes_the_same_card(command: Any) -> None:
    assert command.call(*RUN).returncode == 0
    assert command.call(*RUN, "--out_dir", "broken", "--max_steps", "3").returncode == 0
    assert command.call(*RUN, "--out_dir", "broken", "--resume").returncode == 0
    whole, resumed = ((command.directory / out / "final" / "README.md").read_text() for out in ("out", "broken"))
    assert resumed == whole


def test_names_and_statistics_of_a_dataset_are_text(command: Any, make_dataset: Any) -> None:
    path = make_dataset("a|b](x) <i>", [np.append(np.arange(7, 90), 0)] * 9)
    (path / "stats.json").write_text(json.dumps({"characters": {"script_shares": {"han": 0.2, "latin": 0.795}}}))
    assert command.call(*RUN, "--train_data_path", str(path)).returncode == 0
    card = (command.directory / "out" / "final" / "README.md").read_text()
    assert "### a\\|b\\](x) \\<i\\>\n" in card
    assert "| characters | latin 80%, han 20% |" in card
    assert "no validation data" in card
    (path / "stats.json").write_text("[1]")
    assert command.call(*RUN, "--train_data_path", str(path), "--overwrite").returncode == 0
    assert "characters" not in (command.directory / "out" / "final" / "README.md").read_text()
