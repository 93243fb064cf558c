"""Rebuild what is damaged and nothing else.

Shards whose records are whole are rebuilt one by one (see `shard_repair`). For all other damage the dataset is made
again in a scratch place (see `making_again`) and only the damaged files are taken from it. Each file is replaced
atomically, the manifest last.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from foundation import atomic
from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline.config import PipelineConfig
from pipeline.inspection.finding import find_sources
from pipeline.inspection.recorded import config_of
from pipeline.publishing.layout import REPORT, SUMS
from pipeline.settings.inputs import InputSpec
from pipeline.verification.making_again import make_again
from pipeline.verification.problems import Problems
from pipeline.verification.shard_repair import ShardRepair
from pipeline.workspace.areas import WorkArea, find_areas
from pipeline.workspace.place import place_of, work_root
from shards.manifest import FILE_NAME, TOKENIZER_DIRECTORY, Manifest


def repair(
    dataset: Path,
    inputs: Sequence[str | InputSpec],
    manifest: Manifest | None,
    problems: Problems,
    config: PipelineConfig,
) -> list[str]:
    """Rebuild the damaged files of `dataset`; the paths that were replaced. `config` says where work areas are.

    Raises `UserError` for what cannot be rebuilt, which then stays as it is.
    """
    place = place_of(config.model_copy(update={"output": dataset}))
    areas = [area for area in find_areas(place.work_root) if area.label == place.label]
    with DirectoryLock(place.lock, f"repairing {dataset.name}"):
        damaged = _replaceable(dataset, problems)
        trusted = None if FILE_NAME in problems else manifest
        scratch = atomic.temporary_directory(work_root(dataset), f"repair-{dataset.name}")
        try:
            rebuilt: list[str] = []
            if trusted is not None:
                shards = _rebuild_shards(dataset, scratch / "shards", trusted, damaged, inputs, areas, config)
                rebuilt = _replace(dataset, shards)
                damaged = [path for path in damaged if path not in shards]
            if damaged:
                made = make_again(dataset, scratch, manifest, trusted, areas, inputs, config, rebuilt)
                rebuilt += _replace(dataset, _taken(made, dataset, damaged))
            return rebuilt
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _rebuild_shards(
    dataset: Path,
    scratch: Path,
    manifest: Manifest,
    damaged: Sequence[str],
    inputs: Sequence[str | InputSpec],
    areas: Sequence[WorkArea],
    configured: PipelineConfig,
) -> dict[str, Path]:
    """The damaged files of shards that their own records are enough for, made again: where each is, by its path."""
    if any(path.startswith(f"{TOKENIZER_DIRECTORY}/") for path in damaged):
        return {}
    try:
        tokenizer = dataset / TOKENIZER_DIRECTORY
        config = config_of(manifest.settings, configured, output=dataset, tokenizer=tokenizer, decontaminate=[])
    except UserError:
        return {}
    try:
        files = find_sources(manifest, inputs, config).files
    except UserError:
        files = {}  # the parts may be enough
    parts = [part for area in areas if area.settings == manifest.settings for part in area.parts()]
    repairer = ShardRepair(dataset, manifest, config, files, parts, scratch)
    found: dict[str, Path] = {}
    for split, entry in manifest.splits.items():
        for shard in entry.shards:
            mine = {suffix: path for suffix in shard.files if (path := f"{split}/{shard.name}{suffix}") in damaged}
            if not mine or ".docs.npy" in mine:
                continue
            made = repairer.rebuild(split, shard)
            if made is not None:
                found |= {path: made[suffix] for suffix, path in mine.items()}
    return found


def _replaceable(dataset: Path, problems: Problems) -> list[str]:
    """The damaged paths that a dataset made anew can have; stray files are not ours to touch."""
    return [path for path in problems.found if not (dataset / path).exists() or _STRAY not in problems.found[path][0]]


_STRAY = "is no part of the dataset"


def _taken(made: Path, dataset: Path, damaged: Sequence[str]) -> dict[str, Path]:
    """The files to take from the dataset made again, by path. A damaged report is replaced whole: it tells the times
    of a run."""
    paths = {path for path in damaged if not path.startswith(f"{REPORT}/")}
    if len(paths) < len(damaged):
        paths |= {path.relative_to(made).as_posix() for path in (made / REPORT).rglob("*") if path.is_file()}
    absent = sorted(path for path in paths if not (made / path).is_file())
    if absent:
        raise UserError(f"{dataset}: {', '.join(absent)} cannot be repaired; the dataset made again has no such file")
    return {path: made / path for path in paths}


def _replace(dataset: Path, files: dict[str, Path]) -> list[str]:
    """Replace files of the dataset, each atomically, the manifest and the checksums last; their paths."""
    ordered = sorted(files, key=lambda path: (path in (FILE_NAME, SUMS), path))
    for path in ordered:
        with atomic.atomic_path(dataset / path) as temporary:
            shutil.copyfile(files[path], temporary)
    return ordered
