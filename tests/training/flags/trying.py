"""Runs of three tiny steps with a flag and without, and what they left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from training.saving import checkpoint

QUICK = ["--max_steps", "3", "--preflight", "false", "--report", "false", "--warmup_steps", "1"]


@dataclass(frozen=True)
class Tried:
    """What a run printed and left below `path`."""

    path: Path
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def column(self, key: str) -> list[Any]:
        """One value of the rows that have it."""
        return [row[key] for row in self.rows if key in row]

    @property
    def content(self) -> dict[str, Any]:
        """The newest checkpoint."""
        return checkpoint.load(self.path / "ckpt.pth")

    @property
    def card(self) -> dict[str, Any]:
        """The front matter of the final model's card."""
        text = (self.path / "final" / "README.md").read_text()
        front: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
        return front

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of the optimizers."""
        return [group for member in self.content["optimizer"].values() for group in member["param_groups"]]


class Trier:
    """`trier(*flags)` runs train.py in this process, each time in a directory of its own."""

    def __init__(self, command: Any, make_dataset: Any, monkeypatch: Any, base: dict[Any, Tried]) -> None:
        self.command, self.make_dataset, self.monkeypatch = command, make_dataset, monkeypatch
        self._count, self._base = 0, base

    def __call__(self, *flags: str, out: str | None = None) -> Tried:
        """Run with `flags`; `out` names the run directory where it matters."""
        self._count += 1
        out = out or f"run{self._count}"
        done = self.command.call(*QUICK, "--out_dir", out, *flags)
        return Tried(self.command.directory / out, done.returncode, done.stdout, done.stderr)

    def good(self, *flags: str, out: str | None = None) -> Tried:
        """The same, for a run that must succeed."""
        tried = self(*flags, out=out)
        assert tried.code == 0, tried.err
        return tried

    @property
    def base(self) -> Tried:
        """The run without any flag, made once."""
        if "base" not in self._base:
            self._base["base"] = self.good()
        return self._base["base"]


def same_weights(one: Tried, other: Tried) -> bool:
    """Whether two runs ended with equal weights."""
    ours, theirs = one.content["model"], other.content["model"]
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape and torch.equal(ours[name], theirs[name]) for name in ours
    )
