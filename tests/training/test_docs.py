"""docs/training.md names only flags and files that there are."""

from __future__ import annotations

import re
from pathlib import Path

from foundation.flags import RESERVED, FlagSet
from foundation.section import Section
from train import SECTIONS
from training.config import TrainFlags
from training.saving import run_directory

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
OTHER_COMMANDS = {"nproc_per_node", "logdir", "document"}  # of torchrun, tensorboard and pipeline.inspect


def test_every_flag_exists() -> None:
    kinds: list[type[Section]] = [*SECTIONS.values(), TrainFlags]
    aliases = {name.lstrip("-") for kind in kinds for leaf in kind.model_fields for name in kind.other_names(leaf)}
    known = {*FlagSet(SECTIONS, TrainFlags).owner, *RESERVED, *aliases, *OTHER_COMMANDS}
    named = set(re.findall(r"--([a-z_0-9]+)", TEXT))
    assert len(named) > 40 and named <= known, named - known


def test_every_file_of_a_run_is_named() -> None:
    for name in (*run_directory.OWN_FILES, *run_directory.OWN_DIRECTORIES):
        assert name in TEXT, name
