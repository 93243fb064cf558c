"""`python -m pipeline.cache info|usage|clear`: the work areas that resuming and repairing use, and the hub's files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from foundation import atomic
from foundation.cli import run
from foundation.config import load_config
from foundation.errors import UserError
from foundation.locks import DirectoryLock
from foundation.quantities import Duration
from foundation.section import Section
from pipeline.config import PipelineConfig
from pipeline.workspace.areas import WorkArea, find_areas, holder, human_age, human_size, tree_bytes
from pipeline.workspace.place import place_of
from tokenization.tokenizer import Tokenizer


class CacheFlags(Section):
    """Options of the command."""

    positional: ClassVar[Sequence[str]] = ("action",)

    action: Literal["info", "usage", "clear"] = Field(
        "info", description="info: list the work areas; usage: what they take; clear: remove them"
    )
    output: str | None = Field(
        None, description="only the work of this dataset, by its name or directory; null takes all beside the"
        " configuration's output",
    )  # fmt: skip
    older_than: Duration | None = Field(None, ge=0, description="only what was not written to for so long: 7d, 12h")
    yes: bool = Field(False, description="clear without asking")


def main(argv: list[str]) -> int:
    """The command."""
    loaded = load_config(
        "python -m pipeline.cache",
        "List, measure and clear the pipeline's work areas. Datasets are never touched: without its work a dataset"
        " stays whole, but updating or repairing it reads the inputs again.",
        {},
        CacheFlags,
        argv,
        {"pipeline": PipelineConfig},
    )
    config, flags = loaded.get(PipelineConfig), loaded.get(CacheFlags)
    root, areas = chosen(config, flags)
    match flags.action:
        case "info":
            print(f"{root}: {_count(areas)}")
            current = current_settings(config)
            for area in areas:
                print("\n".join(describe(area, current)))
        case "usage":
            print("\n".join(usage(root, areas, config)))
        case "clear":
            return clear(root, areas, flags.yes)
    return 0


def chosen(config: PipelineConfig, flags: CacheFlags) -> tuple[Path, list[WorkArea]]:
    """The directory of the work areas, and those that the flags ask for, oldest first."""
    output, name = config.output, None
    if flags.output is not None:
        given = Path(flags.output)
        output = given if len(given.parts) > 1 else output.parent / given
        name = output.name
    root = place_of(config.model_copy(update={"output": output})).work_root
    areas = [area for area in find_areas(root) if name is None or area.dataset == name]
    if name is not None and not areas:
        known = sorted({area.dataset or "?" for area in find_areas(root)})
        raise UserError(f"{root}: no work of a dataset {name!r} there; there is work of: {', '.join(known) or 'none'}")
    areas = [area for area in areas if flags.older_than is None or area.age >= flags.older_than]
    return root, sorted(areas, key=lambda area: -area.age)


def _count(areas: Sequence[WorkArea]) -> str:
    size = human_size(sum(area.bytes for area in areas))
    return f"{len(areas)} work area{'' if len(areas) == 1 else 's'}, {size}"


def current_settings(config: PipelineConfig) -> dict[str, Any]:
    """The settings a run with this configuration would have."""
    settings = config.settings()
    settings["tokenizer"] = "trained"
    if config.tokenizer is not None:
        settings["tokenizer"] = Tokenizer.load(config.tokenizer).fingerprint
    return settings


def describe(area: WorkArea, current: dict[str, Any]) -> list[str]:
    """Lines about one area: whose it is, its state, and how its settings differ from the configuration's."""
    state = "in use" if area.owner else area.state
    name = area.dataset or "unknown dataset"
    lines = [f"{area.directory.name}  {name}: {state}, {human_size(area.bytes)}, {human_age(area.age)} old"]
    if area.made_the_dataset:
        lines.append("  the dataset there now was made from it")
    differences = [
        f"{key} {area.settings.get(key)!r} (configuration: {current.get(key)!r})"
        for key in sorted(area.settings.keys() | current.keys())
        if area.settings.get(key) != current.get(key)
    ]
    return lines + [f"  {line}" for line in differences]


def usage(root: Path, areas: Sequence[WorkArea], config: PipelineConfig) -> list[str]:
    """Totals by dataset, of all, and of the files fetched from the hub."""
    lines = []
    for name in sorted({area.dataset or "unknown dataset" for area in areas}):
        mine = [area for area in areas if (area.dataset or "unknown dataset") == name]
        finished = sum(area.finished for area in mine)
        lines.append(f"  {name:24} {_count(mine)}, {finished} finished")
    hub = hub_cache(config)
    return [
        f"work {root}: {_count(areas)}",
        *lines,
        f"hub  {hub}: {human_size(tree_bytes(hub)) if hub.is_dir() else 'nothing fetched yet'}",
    ]


def hub_cache(config: PipelineConfig) -> Path:
    """Where files fetched from the Hugging Face hub are kept."""
    if config.hub_cache is not None:
        return config.hub_cache
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def clear(root: Path, areas: Sequence[WorkArea], yes: bool) -> int:
    """Remove `areas`, after asking; what a running process holds stays, is named, and makes the exit status 1."""
    if not areas:
        print(f"{root}: nothing to clear")
        return 0
    print(
        "\n".join(f"  {area.directory.name}  {area.dataset}: {area.state}, {human_size(area.bytes)}" for area in areas)
    )
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"this would remove {_count(areas)} from {root}; add --yes to do it")
        if input(f"remove {_count(areas)} from {root}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 0
    busy = [area for area in areas if not _remove(area)]
    if not any(map(holder, root.glob("*.lock"))):  # a process of another machine could not be seen otherwise
        atomic.remove_abandoned(root)
    removed = [area for area in areas if area not in busy]
    print(f"removed {_count(removed)}")
    for line in _in_use(busy):
        print(line, file=sys.stderr)
    return 1 if busy else 0


def _remove(area: WorkArea) -> bool:
    """Remove one area under its dataset's lock; False when a running process holds it."""
    try:
        with ExitStack() as held:
            for lock in area.locks:
                held.enter_context(DirectoryLock(lock, "clearing its work"))
            # Renamed first: half-removed parts under the old name could be taken for whole ones.
            aside = atomic.temporary_beside(area.directory)
            area.directory.rename(aside)
            shutil.rmtree(aside)
    except UserError:
        return False
    return True


def _in_use(areas: Iterable[WorkArea]) -> list[str]:
    return [f"{area.directory}: in use by {area.owner or 'another process'}, left alone" for area in areas]


if __name__ == "__main__":
    run(main)
