"""What a launch script runs: on how many GPUs, and with which of three kinds of settings."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Machines:
    """So many machines with so many GPUs each."""

    nodes: int
    gpus: int

    @property
    def name(self) -> str:
        """`8gpu`, `2x8gpu`."""
        return f"{self.nodes}x{self.gpus}gpu" if self.nodes > 1 else f"{self.gpus}gpu"

    @property
    def words(self) -> str:
        """`8 GPUs`, `2 machines with 8 GPUs each`."""
        gpus = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"
        return f"{self.nodes} machines with {gpus} each" if self.nodes > 1 else gpus


@dataclass(frozen=True)
class Variant:
    """A kind of run. `flags` are train.py's own; the same on any number of GPUs, since the global batch is fixed."""

    name: str
    words: str
    flags: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Recipe:
    """A variant on machines, started by torchrun itself or by Slurm."""

    machines: Machines
    variant: Variant
    slurm: bool

    @property
    def name(self) -> str:
        """`8gpu-standard`, `slurm-2x8gpu-fast`."""
        return f"{'slurm-' if self.slurm else ''}{self.machines.name}-{self.variant.name}"


MACHINES = tuple(Machines(nodes, gpus) for nodes, gpus in ((1, 1), (1, 2), (1, 4), (1, 8), (2, 8), (4, 8)))
_COMMON = (("batch_size", "auto"), ("dtype", "auto"), ("compile", "true"))
VARIANTS = (
    Variant(
        "fast",
        "30M parameters, 512 tokens of context, one pass: to see within the hour whether data and settings are right",
        (
            ("preset", "30m"),
            ("max_seq_len", "512"),
            ("global_batch_size", "256"),
            ("epochs", "1"),
            ("learning_rate", "1e-3"),
            ("warmup_steps", "200"),
            ("eval_interval", "500"),
            ("save_interval", "500"),
            *_COMMON,
        ),
    ),
    Variant(
        "standard",
        "124M parameters, 1,024 tokens of context, half a million tokens a step: GPT-2's size and batch",
        (
            ("preset", "124m"),
            ("max_seq_len", "1024"),
            ("global_batch_size", "512"),
            ("epochs", "1"),
            ("learning_rate", "6e-4"),
            ("warmup_steps", "700"),
            ("eval_interval", "500"),
            ("save_interval", "500"),
            *_COMMON,
        ),
    ),
    Variant(
        "quality",
        "350M parameters, 1,024 tokens of context, Muon, averaged weights, best-fit packing, two passes: the best "
        "model for the data, at its price",
        (
            ("preset", "350m"),
            ("max_seq_len", "1024"),
            ("global_batch_size", "512"),
            ("epochs", "2"),
            ("optimizer", "muon"),
            ("learning_rate", "6e-4"),
            ("warmup_steps", "1000"),
            ("use_ema", "true"),
            ("packing", "best_fit"),
            ("eval_interval", "500"),
            ("save_interval", "500"),
            *_COMMON,
        ),
    ),
)


def recipes() -> dict[str, Recipe]:
    """Every recipe by its name."""
    found = [Recipe(machines, variant, False) for machines in MACHINES for variant in VARIANTS]
    found += [Recipe(machines, variant, True) for machines in MACHINES if machines.gpus == 8 for variant in VARIANTS]
    return {recipe.name: recipe for recipe in found}


def recipe_named(name: str) -> Recipe:
    """The recipe `name`; `UserError` naming the nearest one."""
    known = recipes()
    if name not in known:
        raise UserError(
            f"no launch script {name!r}{did_you_mean(name, known)}; `python -m training.launch list` has all"
        )
    return known[name]
