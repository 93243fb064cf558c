"""Rebuild what is damaged and nothing else.

Shards whose records are whole are rebuilt one by one (see `shard_repair`). For all other damage the dataset is made
again in a scratch place and only the damaged files are taken from it. That run is the pipeline itself, on the parts of
the work area (hard links; the journal vouches for each) and, where these are missing or damaged, on the inputs.
Determinism does the rest: the scratch dataset has the bytes of the original, which its manifest proves before a single
file is replaced. Each file is replaced atomically, the manifest last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from foundation import atomic, fingerprint
from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline.config import PipelineConfig
from pipeline.dedup.decontaminate import TABLE
from pipeline.place import place_of, work_root
from pipeline.process import process
from pipeline.settings.inputs import InputSpec
from pipeline.sources.base import InputFile
from pipeline.sources.find import find_inputs
from pipeline.tracing import TOKENIZER_SETTING, TRAINED, config_of, find_sources
from pipeline.verification.checksums import FILE_NAME as SUMS
from pipeline.verification.checksums import REPORT, DamagedList, read_checksums
from pipeline.verification.problems import Problems
from pipeline.verification.shard_repair import ShardRepair
from pipeline.work import work_of
from pipeline.work_areas import WorkArea, find_areas
from shards.manifest import FILE_NAME, TOKENIZER_DIRECTORY, Manifest
from tokenization.tokenizer import Tokenizer


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
                made = _make_again(dataset, scratch, manifest, trusted, areas, inputs, config, rebuilt)
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


def _make_again(
    dataset: Path,
    scratch: Path,
    manifest: Manifest | None,
    trusted: Manifest | None,
    areas: Sequence[WorkArea],
    inputs: Sequence[str | InputSpec],
    config: PipelineConfig,
    rebuilt: Sequence[str],
) -> Path:
    """The whole dataset in `scratch`, proved to be the original. Raises `UserError` when it is not to be had."""
    reasons = []
    for settings, area in _attempts(dataset, manifest, trusted is None, areas):
        try:
            made = _make(dataset, scratch, settings, area, inputs, trusted, config)
        except UserError as error:
            reasons.append(str(error))
            continue
        if _is_the_original(dataset, made, trusted, area):
            return made
        reasons.append("made again, the dataset is another one: the inputs or the program have changed since")
    done = f"rebuilt {', '.join(rebuilt)}; the rest cannot be repaired" if rebuilt else "cannot be repaired"
    raise UserError("\n  ".join([f"{dataset}: {done}, nothing was changed there:", *dict.fromkeys(reasons)]))


def _replaceable(dataset: Path, problems: Problems) -> list[str]:
    """The damaged paths that a dataset made anew can have; stray files are not ours to touch."""
    return [path for path in problems.found if not (dataset / path).exists() or _STRAY not in problems.found[path][0]]


_STRAY = "is no part of the dataset"


def _attempts(
    dataset: Path, manifest: Manifest | None, manifest_is_damaged: bool, areas: Sequence[WorkArea]
) -> list[tuple[dict[str, Any], WorkArea | None]]:
    """The settings to make the dataset again with, and the work that was done for them, most likely first."""
    if manifest is not None and not manifest_is_damaged:
        return [(manifest.settings, next((area for area in areas if area.settings == manifest.settings), None))]
    attempts: list[tuple[dict[str, Any], WorkArea | None]] = [(area.settings, area) for area in areas]
    if manifest is not None:
        attempts.append((manifest.settings, None))
    if not attempts:
        raise UserError(
            f"{dataset}: the manifest is damaged and no work is left that knows the settings; make it again"
        )
    return attempts


def _make(
    dataset: Path,
    scratch: Path,
    settings: dict[str, Any],
    area: WorkArea | None,
    inputs: Sequence[str | InputSpec],
    manifest: Manifest | None,
    configured: PipelineConfig,
) -> Path:
    """Make the dataset again in `scratch`."""
    known = configured.decontaminate or (area is not None and (area.directory / TABLE).exists())
    if settings.get("decontaminate") and not known:
        raise UserError("its evaluation files are needed: name them in the configuration file, as decontaminate")
    output = scratch / dataset.name
    shutil.rmtree(output, ignore_errors=True)
    tokenizer = _tokenizer(dataset, settings, area, manifest)
    given = None
    if settings[TOKENIZER_SETTING] != TRAINED:
        given = scratch / "given"
        tokenizer.save(given)
    config = config_of(
        settings, configured, output=output, tokenizer=given, max_bad_fraction=1.0, workers=configured.workers,
        decontaminate=configured.decontaminate or settings.get("decontaminate", []),
    )  # fmt: skip
    work = work_of(place_of(config), settings)
    work.directory.mkdir(parents=True, exist_ok=True)
    if area is not None:
        _link_parts(area.directory, work.directory)
    if not work.tokenizer.exists():
        tokenizer.save(work.tokenizer)
    process(config, resume=True, inputs=_inputs(manifest, inputs, config))
    return output


def _tokenizer(dataset: Path, settings: dict[str, Any], area: WorkArea | None, manifest: Manifest | None) -> Tokenizer:
    """The tokenizer of the dataset: its own, or if that is damaged the work area's."""
    wanted = {settings[TOKENIZER_SETTING]} - {TRAINED} | ({manifest.tokenizer_fingerprint} if manifest else set())
    for place in [dataset / TOKENIZER_DIRECTORY, *([area.directory / "tokenizer"] if area else [])]:
        try:
            tokenizer = Tokenizer.load(place)
            if (not wanted or tokenizer.fingerprint in wanted) and _is_listed(dataset, place):
                return tokenizer
        except (UserError, ValueError):
            continue
    raise UserError(f"{dataset / TOKENIZER_DIRECTORY}: damaged, and the work area has no copy of it")


def _is_listed(dataset: Path, place: Path) -> bool:
    """Whether the files of a tokenizer directory have the checksums the dataset's list gives; True without a list."""
    listed = _listed(dataset)
    names = [name for name in listed if name.startswith(f"{TOKENIZER_DIRECTORY}/")]
    return all(
        (place / Path(name).name).is_file() and fingerprint.of_file(place / Path(name).name) == listed[name]
        for name in names
    )


def _listed(dataset: Path) -> dict[str, str]:
    try:
        return read_checksums(dataset) or {}
    except DamagedList:
        return {}


def _link_parts(area: Path, work: Path) -> None:
    """Give `work` the parts of `area`: the files by hard links (they are never written again), the journals copied."""
    for path in area.iterdir():
        if path.name.startswith(atomic.TEMPORARY_PREFIX):
            continue
        if path.name == "parts":
            shutil.copytree(path, work / "parts", copy_function=_link, dirs_exist_ok=True)
        elif path.name.startswith("journal") or path.name == TABLE:
            shutil.copyfile(path, work / path.name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _inputs(manifest: Manifest | None, inputs: Sequence[str | InputSpec], config: PipelineConfig) -> list[InputFile]:
    """All inputs of the dataset, in its order and by its names; as they are given when the manifest cannot tell."""
    if manifest is None:
        return find_inputs(config.model_copy(update={"input": list(inputs)}))
    found = find_sources(manifest, inputs, config)
    if found.missing:
        raise UserError("; ".join(found.missing.values()))
    return [replace(found.files[number], name=entry.name) for number, entry in enumerate(manifest.inputs)]


def _is_the_original(dataset: Path, made: Path, manifest: Manifest | None, area: WorkArea | None) -> bool:
    """Whether the dataset made again is the damaged one: by its manifest, that file's checksum, or the journal."""
    again = Manifest.load(made)
    if manifest is not None:
        return again.identity == manifest.identity
    known = _listed(dataset).get(FILE_NAME) or (area.published if area else None)
    return known == again.identity


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
