"""Options of the command line only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from training.settings.base import Settings


class TrainFlags(Settings):
    """Options that exist only on the command line."""

    aliases: ClassVar[Mapping[str, Sequence[str]]] = {"local_rank": ["--local-rank"]}

    resume: bool = Field(False, description="continue the run in out_dir; a fresh run when there is none yet")
    resume_from: Path | None = Field(None, description="continue from this checkpoint file, with or without --resume")
    overwrite: bool = Field(False, description="remove the run in out_dir and start afresh")
    allow_change: tuple[str, ...] = Field(
        (), description="settings that a resumed run may change although they change what it computes"
    )
    dry_run: bool = Field(
        False, description="check everything, try a step, say what the run would take, and train nothing"
    )
    ddp: bool = Field(False, description="one process a device, started by torchrun; alone: a single process")
    fsdp: bool = Field(
        False,
        description="as --ddp, but the processes share one copy of weights, gradients and optimizer state (FSDP2):"
        " for models that do not fit one device",
    )
    chain: tuple[str, ...] = Field(
        (),
        description="run these stages of the configuration file (its section `stages`) one after the other, each from "
        "the best model of the one before; --resume goes on where a chain was stopped",
    )
    local_rank: int | None = Field(None, description="given by `python -m torch.distributed.launch`")

    @property
    def stages(self) -> list[str]:
        """The stages of `--chain a,b` or `--chain a b`."""
        return [part.strip() for name in self.chain for part in name.split(",") if part.strip()]

    def problems(self) -> Sequence[str]:
        """Flags that exclude each other."""
        problems = []
        if self.overwrite and (self.resume or self.resume_from):
            problems.append("--overwrite starts afresh and --resume continues; give one of them")
        if self.allow_change and not (self.resume or self.resume_from):
            problems.append("--allow_change only means something with --resume or --resume_from")
        if self.chain and self.resume_from:
            problems.append("--chain continues with --resume; --resume_from is for a single run")
        if len(set(self.stages)) < len(self.stages):
            problems.append(f"--chain {','.join(self.stages)} names a stage twice; give it once")
        return problems
