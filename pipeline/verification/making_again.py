"""Make a damaged dataset again in a scratch place, and prove that it is the original.

The run is the pipeline itself, on the parts of the work area (hard links; the journal vouches for each) and, where
these are missing or damaged, on the inputs. Determinism does the rest: what was made has the bytes of the original,
which the manifest proves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundation import atomic, fingerprint
from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.dedup.decontaminate import TABLE
from pipeline.inspection.finding import find_sources
from pipeline.inspection.recorded import EVALUATION_SETTING, TRAINED, config_of, tokenizer_of
from pipeline.mapping.versions import told, versions
from pipeline.process import process
from pipeline.settings.inputs import InputSpec
from pipeline.sources.base import InputFile
from pipeline.sources.find import find_inputs
from pipeline.verification.checksums import DamagedList, read_checksums
from pipeline.workspace.areas import WorkArea
from pipeline.workspace.place import place_of
from pipeline.workspace.work_of import work_of
from shards.manifest import FILE_NAME, TOKENIZER_DIRECTORY, Manifest
from tokenization.tokenizer import Tokenizer


def make_again(
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
    if manifest is not None and manifest.versions != (now := versions(settings)):
        raise UserError(
            f"the dataset was made with other versions ({told(manifest.versions, now)}), so these cannot give it back;"
            " `python -m pipeline.process --resume` makes it anew"
        )
    output = scratch / dataset.name
    given = None if tokenizer_of(settings) == TRAINED else scratch / "given"
    evaluation = settings.get(EVALUATION_SETTING, [])
    config = config_of(
        settings, configured, output=output, tokenizer=given, max_bad_fraction=1.0, workers=configured.workers,
        decontaminate=evaluation and (configured.decontaminate or evaluation),
    )  # fmt: skip
    known = configured.decontaminate or (area is not None and (area.directory / TABLE).exists())
    if evaluation and not known:
        raise UserError("its evaluation files are needed: name them in the configuration file, as decontaminate")
    shutil.rmtree(output, ignore_errors=True)
    tokenizer = _tokenizer(dataset, settings, area, manifest)
    if given is not None:
        tokenizer.save(given)
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
    wanted = {tokenizer_of(settings)} - {TRAINED} | ({manifest.tokenizer_fingerprint} if manifest else set())
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
    return [found.files[number] for number in range(len(manifest.inputs))]


def _is_the_original(dataset: Path, made: Path, manifest: Manifest | None, area: WorkArea | None) -> bool:
    """Whether the dataset made again is the damaged one: by its manifest, that file's checksum, or the journal."""
    again = Manifest.load(made)
    if manifest is not None:
        return again.identity == manifest.identity
    known = _listed(dataset).get(FILE_NAME) or (area.published if area else None)
    return known == again.identity
