"""The text of a launch script: torchrun on one machine or several, or the same under Slurm."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence

from foundation.section import bare_name
from training.config import DataConfig
from training.launching.recipes import Machines, Recipe

PORT = 29500


def script(recipe: Recipe, train_data_path: str, out_dir: str) -> str:
    """A bash script. Options given to it go to train.py after its own, so that they win."""
    head = _slurm_head(recipe) if recipe.slurm else []
    lines = [
        "#!/usr/bin/env bash",
        *head,
        *_comment(f"{recipe.name}: {recipe.machines.words}; {recipe.variant.words}."),
        "# Run it in the repository, its environment active. More options may follow: they override those below, and",
        "# --train_data_path takes the place of the dataset here.",
        "# Started again, it continues the run in its out_dir. A step has the same samples on any number of GPUs.",
        "set -euo pipefail",
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"',
        *_dataset(train_data_path),
        *_launch(recipe),
    ]
    arguments = ["train.py", "--ddp", "--resume", *_flags(recipe, out_dir)]
    return "\n".join([*lines, *_continued(arguments), '  "$@"']) + "\n"


def _flags(recipe: Recipe, out_dir: str) -> list[str]:
    return [f"--{key} {shlex.quote(value)}" for key, value in (("out_dir", out_dir), *recipe.variant.flags)]


def _dataset(train_data_path: str) -> list[str]:
    """The flag names a list, which a second one would add to: the script gives it only where it does not follow."""
    names = ("train_data_path", *map(bare_name, DataConfig.other_names("train_data_path")))
    patterns = " | ".join(f'*" __{name}"*' for name in dict.fromkeys(names))
    return [
        'case " ${*//-/_}" in',
        f"  {patterns}) ;;",
        f'  *) set -- "$@" --train_data_path {shlex.quote(train_data_path)} ;;',
        "esac",
    ]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 110)]


def _continued(words: Sequence[str]) -> list[str]:
    return [f"  {word} \\" for word in words]


def _launch(recipe: Recipe) -> list[str]:
    """The beginning of the command, up to train.py."""
    machines = recipe.machines
    if recipe.slurm:
        return [
            'HOSTS="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"',
            "HEAD=\"${HOSTS%%$'\\n'*}\"",
            # Since Slurm 22.05 srun does not inherit this from sbatch: all processes of a machine would share one CPU.
            'exec srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" torchrun \\',
            f"  --nnodes {machines.nodes} --nproc_per_node {machines.gpus} \\",
            f'  --rdzv_backend c10d --rdzv_id "$SLURM_JOB_ID" --rdzv_endpoint "$HEAD:{PORT}" \\',
        ]
    if machines.nodes == 1:
        return [f"exec torchrun --standalone --nproc_per_node {machines.gpus} \\"]
    return _several_machines(machines)


def _several_machines(machines: Machines) -> list[str]:
    return [
        *_comment(
            f"Start it on each of the {machines.nodes} machines at about the same time, with out_dir on storage that "
            "all of them see: HEAD=host-of-the-first-machine ./this-script"
        ),
        ': "${HEAD:?set HEAD to the host name or address of the first machine}"',
        "exec torchrun \\",
        f"  --nnodes {machines.nodes} --nproc_per_node {machines.gpus} \\",
        f'  --rdzv_backend c10d --rdzv_id mateconv --rdzv_endpoint "$HEAD:{PORT}" \\',
    ]


def _slurm_head(recipe: Recipe) -> list[str]:
    machines = recipe.machines
    return [
        f"#SBATCH --job-name={recipe.name}",
        f"#SBATCH --nodes={machines.nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={machines.gpus}",
        f"#SBATCH --cpus-per-task={4 * machines.gpus}",
        "#SBATCH --time=24:00:00",
        "#SBATCH --requeue",
        "#SBATCH --signal=TERM@120",
        "#SBATCH --output=%x-%j.log",
    ]
