"""docs/coming-from.md as a program: its rows, and a directory of tiny texts and recipes to run them in."""

from __future__ import annotations

import importlib
import io
import re
import runpy
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from foundation import cli
from foundation.config import SECTIONS
from foundation.former_keys import FORMER, GONE
from pipeline.sources import hub

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "coming-from.md"
SPAN = re.compile(r"`([^`]+)`")
KEPT = ("--resume", "--resume_from", "--overwrite", "--print_config", "--dry_run")
OTHER_NAMES = {"min_lr": "min_learning_rate", "optimizer_type": "optimizer"}
IN_PLACE_OF = {"warmup_ratio": "warmup_steps"}
TYPED = "the film was [MASK] .\nquit\n"
"""What is typed into an interactive loop."""


@dataclass(frozen=True)
class Row:
    """A line of a table: what is on its right, and where it stands."""

    section: str
    table: str
    line: int
    old: str
    new: tuple[str, ...]

    def __str__(self) -> str:
        return f"{PAGE.name}:{self.line}: {' | '.join(self.new)}"


def read_rows(text: str) -> list[Row]:
    """All rows of all tables, under their `##` and `###` headings."""
    rows, section, table = [], "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("### "):
            table = line[4:]
        elif line.startswith("| ") and not line.startswith(f"| {section} |"):
            old, new, *_ = (cell.strip() for cell in line.strip("|").split(" |"))
            rows.append(Row(section, table, number, old, tuple(SPAN.findall(new))))
    return rows


def merged(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """YAML documents as one; later ones win, key by key."""
    whole: dict[str, Any] = {}
    for document in documents:
        for section, values in document.items():
            whole[section] = {**whole.get(section, {}), **values}
    return whole


SIZES: dict[str, Any] = {
    "preset": None, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 128,
}  # fmt: skip
TINY: dict[str, dict[str, Any]] = {
    "pipeline": {"workers": 1, "report": False, "max_val_tokens": 400},
    "data": {"max_seq_len": 32},
    "model": SIZES,
    "training": {
        "max_steps": 2, "time_budget": None, "warmup_steps": 1, "batch_size": 2, "global_batch_size": None,
        "eval_interval": 2, "save_interval": 2, "preflight": False, "device": "cpu", "compile": False,
    },
    "logging": {"log_interval": 1, "report": False, "sample_tokens": 0, "wandb_mode": "disabled"},
}  # fmt: skip


def shrunk(recipe: dict[str, Any], tokenizer: str) -> dict[str, Any]:
    """A recipe made tiny. What is named of a tokenizer on the hub lies at `tokenizer`."""
    tiny = merged([recipe, TINY])
    if str(tiny["pipeline"].get("tokenizer", "")).count("/") == 1:
        tiny["pipeline"]["tokenizer"] = tokenizer
    tiny["stages"] = {
        name: {
            key: TINY["training"].get(key, TINY["data"].get(key, value))
            for key, value in stage.items()
            if key not in ("time_budget", "global_batch_size")
        }
        for name, stage in recipe.get("stages", {}).items()
    }
    return {key: value for key, value in tiny.items() if value}


@dataclass
class Story:
    """A directory in which the rows of a section run one after the other, and the names its Python has made."""

    directory: Path
    rows: Sequence[Row]
    whole: bool
    """Run everything; else a training or a dataset of a kind that has been run already, and which no other row speaks
    of, is only taken as far as its settings."""
    names: dict[str, Any] = field(default_factory=dict)
    done: set[tuple[str, ...]] = field(default_factory=set)

    def run(self, row: Row) -> str:
        """Run what stands on the right of a row; what it printed. Fails with the row when it fails."""
        printed = []
        for text in row.new:
            try:
                if re.match(r"(python|torchrun) ", text):
                    printed.append(self.command(shlex.split(text)))
                else:
                    self.python(text)
            except Exception as error:
                raise AssertionError(f"{row}\n{error}") from error
        return "\n".join(printed)

    def python(self, text: str) -> None:
        """Run a line of Python."""
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
            patch.chdir(self.directory)
            exec(compile(text, str(PAGE), "exec"), self.names)

    def command(self, words: list[str], always: bool = False) -> str:
        """Run a command in this process, whole in any case with `always`; a training by torchrun as the one process
        that `--ddp` alone means."""
        program, *words = map(_near, words)
        if program == "torchrun" or words[:2] == ["-m", "torch.distributed.launch"]:
            words = _launched(words if program == "torchrun" else words[2:])
        if words[0] == "-m":
            program, main, words = words[1], importlib.import_module(_module(words[1])).main, words[2:]
        else:
            program, words = words[0], words[1:]
            main = runpy.run_path(str(ROOT / program))["main"]
        if program in ("train.py", "pipeline.process"):
            if self._known(program, words) and not always:
                words = [*words, "--print_config"]
            elif not set(KEPT) & set(words):
                words = [*words, "--overwrite"]  # each row is told as if nothing were there yet
        return self._call(main, program, words)

    def _known(self, program: str, words: Sequence[str]) -> bool:
        """Whether the like of this command has been run, and nothing hangs on what it makes."""
        value = dict(pairwise(words))
        kind = (program, *(value.get(name, "") for name in ("--config", "--task", "--chain")))
        known = kind in self.done
        self.done.add(kind)
        made = value.get("--out_dir") or value.get("--output")
        told = sum(made in text for row in self.rows for text in row.new) if made else 0
        return known and told < 2 and not self.whole

    def _call(self, main: Callable[[list[str]], int], program: str, words: Sequence[str]) -> str:
        out, err = io.StringIO(), io.StringIO()
        code: Any = 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.directory)
            patch.setattr("sys.argv", [program, *words])
            patch.setattr("sys.stdin", io.StringIO(TYPED))
            try:
                cli.run(main)
            except SystemExit as end:
                code = end.code
        assert not code, f"{program} {shlex.join(words)}\n{out.getvalue()[-500:]}\n{err.getvalue()[-1500:]}"
        return out.getvalue()

    def flags(self, table: str, rows: Sequence[Row]) -> None:
        """Run the command in a table's heading with the flags of all its rows."""
        [command] = SPAN.findall(table)
        self.command(shlex.split(" ".join([command, *(text for row in rows for text in row.new)])), always=True)

    def keys(self, rows: Sequence[Row]) -> None:
        """The keys of all rows in one file: their values arrive, and train.py runs with them (in a tiny model)."""
        given = merged([yaml.safe_load(text) for row in rows for text in row.new])
        assert given.keys() <= {*SECTIONS, *GONE}
        base = yaml.safe_load((self.directory / "config.yaml").read_text())
        for section, values in given.items():
            for key in values:
                here, leaf = _place(section, key)
                base[here].pop(leaf, None)
                base[here].pop(IN_PLACE_OF.get(key), None)
        (self.directory / "keys.yaml").write_text(yaml.safe_dump(merged([base, given])))
        arrived = yaml.safe_load(self.command(shlex.split("python train.py --config keys.yaml --print_config")))
        for section, values in given.items():
            for key, value in values.items():
                here, leaf = _place(section, key)
                found = arrived[here][leaf]
                assert found in (value, [value]), f"{section}.{key}: {found!r} in place of {value!r}"
        tiny = {"model": SIZES, "data": {"max_seq_len": 32}, "training": {"out_dir": "out/keys"}}
        (self.directory / "keys.yaml").write_text(yaml.safe_dump(merged([base, given, tiny])))
        self.command(shlex.split("python train.py --config keys.yaml"), always=True)

    def files(self, rows: Sequence[Row]) -> Iterator[str]:
        """The paths of the rows that are not there."""
        for row in rows:
            for name in row.new:
                if not (self.directory / name).exists():
                    yield f"{row}: not there"


def _place(section: str, key: str) -> tuple[str, str]:
    """The section and the name that a key has here."""
    return FORMER.get((section, key), (section, OTHER_NAMES.get(key, key)))


def _near(word: str) -> str:
    """What stands for a word of a command here: for a dataset on the hub, which no test reaches, the texts beside."""
    if not word.startswith("hf://datasets/"):
        return word
    assert hub.is_dataset(word), word
    return "wikitext"


def _launched(words: Sequence[str]) -> list[str]:
    """torchrun's own options checked by torchrun; what it would start."""
    from torch.distributed.run import parse_args

    parsed = parse_args(list(words))
    assert {"--ddp", "--fsdp"} & set(parsed.training_script_args), "several processes, each for itself"
    return [parsed.training_script, *parsed.training_script_args]


def _module(name: str) -> str:
    """Where the `main` of `python -m name` stands."""
    return {"model.presets": "model.preset_table", "training.report": "training.report.__main__"}.get(name, name)
