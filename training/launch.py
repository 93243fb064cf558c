"""`python -m training.launch list|show|write NAME`: ready scripts for 1 to 8 GPUs, several machines and Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from foundation import atomic
from foundation.cli import run
from foundation.config import load_config
from foundation.errors import UserError
from foundation.section import Section
from training.launching.recipes import VARIANTS, recipe_named, recipes
from training.launching.script import script


class LaunchFlags(Section):
    """Options of the command."""

    positional: ClassVar[Sequence[str]] = ("action", "name")

    action: Literal["list", "show", "write"] = Field(
        "list", description="list: the names; show: print a script; write: put it into a file"
    )
    name: str | None = Field(None, description="name of the script, 8gpu-standard for example")
    train_data_path: str = Field("dataset/demo", description="dataset that the script trains on")
    out_dir: str | None = Field(None, description="run directory of the script; null: out/NAME")
    output: Path | None = Field(None, description="file to write; null: NAME.sh")
    overwrite: bool = Field(False, description="replace an existing file")


def main(argv: list[str]) -> int:
    """The command."""
    what = "Ready scripts that start train.py on several GPUs with torchrun."
    flags = load_config("python -m training.launch", what, {}, LaunchFlags, argv).get(LaunchFlags)
    if flags.action == "list":
        print("\n".join(listing()))
        return 0
    if flags.name is None:
        raise UserError(f"{flags.action} needs the NAME of a script; `python -m training.launch list` has all")
    text = script(recipe_named(flags.name), flags.train_data_path, flags.out_dir or f"out/{flags.name}")
    if flags.action == "show":
        print(text, end="")
        return 0
    path = flags.output or Path(f"{flags.name}.sh")
    write(path, text, flags.overwrite)
    print(f"{path}: written; start it with {'sbatch' if flags.name.startswith('slurm-') else 'bash'} {path}")
    return 0


def listing() -> list[str]:
    """The names with what they mean."""
    lines = ["variants:"]
    lines += [f"  {variant.name:10}{variant.words}" for variant in VARIANTS]
    lines.append("scripts:")
    for name, recipe in recipes().items():
        lines.append(f"  {name:24}{recipe.machines.words}{', as a Slurm job' if recipe.slurm else ''}")
    return lines


def write(path: Path, text: str, overwrite: bool) -> None:
    """Write an executable script. `UserError` when another file lies there."""
    if path.exists() and not overwrite and path.read_bytes() != text.encode():
        raise UserError(f"{path}: exists and has another content; name another --output, or give --overwrite")
    atomic.write_text(path, text)
    path.chmod(0o755)


if __name__ == "__main__":
    run(main)
