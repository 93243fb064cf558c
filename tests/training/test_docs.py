"""docs/training.md and docs/distributed.md name only flags and files that there are."""

from __future__ import annotations

import re
from pathlib import Path

from foundation.flags import RESERVED, FlagSet
from foundation.section import Section
from train import SECTIONS
from training.config import TrainFlags
from training.saving import run_directory

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "training.md").read_text(encoding="utf-8")
OTHER_COMMANDS = {"nproc_per_node", "logdir", "document"}  # of torchrun, tensorboard and pipeline.inspect
TORCHRUN = {"standalone", "nnodes", "nproc_per_node", "rdzv_backend", "rdzv_id", "rdzv_endpoint", "max_restarts"}


def test_every_flag_exists() -> None:
    kinds: list[type[Section]] = [*SECTIONS.values(), TrainFlags]
    aliases = {name.lstrip("-") for kind in kinds for leaf in kind.model_fields for name in kind.other_names(leaf)}
    known = {*FlagSet(SECTIONS, TrainFlags).owner, *RESERVED, *aliases, *OTHER_COMMANDS}
    named = set(re.findall(r"--([a-z_0-9]+)", TEXT))
    assert len(named) > 40 and named <= known, named - known
    several = set(re.findall(r"--([a-z_0-9]+)", (DOCS / "distributed.md").read_text(encoding="utf-8")))
    known |= TORCHRUN | {"kill", "cpus"}  # --kill-on-bad-exit and --cpus-per-task of srun
    assert len(several) > 12 and several <= known, several - known


def test_every_file_of_a_run_is_named() -> None:
    names = (*run_directory.OWN_FILES, *run_directory.OWN_DIRECTORIES)
    for name in names:
        assert name in TEXT, name
    of_some = {*run_directory.VERDICTS.values(), run_directory.CONFUSION, run_directory.TENSORBOARD}
    for readme in ("README.md", "README.zh-CN.md"):
        [text] = [p for p in (DOCS.parent / readme).read_text(encoding="utf-8").split("\n\n") if "`metrics.jsonl`" in p]
        for name in set(names) - of_some:
            assert f"`{name}`" in text or f"`{name}/`" in text, (readme, name)
