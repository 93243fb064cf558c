"""Directories that are more than a heap of files: Hugging Face `save_to_disk` datasets and class directories."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from foundation.errors import UserError
from foundation.logs import get_logger
from pipeline.settings.inputs import Split
from pipeline.sources import files
from pipeline.sources.base import Identity, InputFile, InputOptions, as_utf8
from pipeline.sources.columns import class_names

_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
_DESCRIPTIONS = (_STATE, _INFO, _SPLITS, "dataset_infos.json")
_NO_CLASS = ("unsup", "unsupervised", "unlabeled", "unlabelled")
"""Class directories whose files have no label."""

SPLIT_NAMES: dict[str, Split] = {"validation": "val", "valid": "val", "val": "val", "dev": "val", "test": "test"}
"""How others call a split -> the split its documents go to; those of any other split are split by content."""

log = get_logger("pipeline.inputs")


class Entry(NamedTuple):
    """A file of a directory: its address, its name relative to the directory, and what the listing told."""

    path: str
    name: str
    identity: Identity | None


class Listing(NamedTuple):
    """All files below a directory that are not hidden, in order of their names."""

    root: str
    entries: list[Entry]

    @classmethod
    def local(cls, root: Path) -> Listing:
        """The files below a local directory."""
        found: list[Entry] = []
        folders: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", (os.path.realpath(root),))]
        while folders:
            folder, prefix, above = folders.pop()
            with _scan(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_file():
                        found.append(Entry(entry.path, prefix + entry.name, None))
                    elif entry.is_dir() and (real := os.path.realpath(entry.path)) not in above:  # no circle of links
                        folders.append((entry.path, f"{prefix}{entry.name}/", (*above, real)))
        return cls(str(root), sorted(found, key=_by_name))

    @classmethod
    def remote(cls, url: str) -> Listing:
        """The files below a directory of a remote store."""
        fs, inside = files.filesystem(url)
        with files.explained(url):
            infos: dict[str, Any] = fs.find(inside, detail=True)
        found = []
        for path, info in infos.items():
            name = path.removeprefix(inside).lstrip("/")
            if info["type"] == "file" and not any(part.startswith(".") for part in name.split("/")):
                found.append(Entry(files.address(fs, path, url), name, files.listed_identity(info)))
        return cls(url, sorted(found, key=_by_name))


def _scan(folder: str) -> Any:
    try:
        return os.scandir(folder)
    except PermissionError:
        raise UserError(f"{folder}: no permission to read this directory") from None


def _by_name(entry: Entry) -> list[str]:
    return entry.name.split("/")


def expand(listing: Listing, options: InputOptions, wanted: str) -> list[InputFile] | None:
    """The inputs of a directory that has a structure of its own, or None."""
    names = {entry.name for entry in listing.entries}
    if wanted in ("auto", "arrow") and any(name.rpartition("/")[2] == _STATE for name in names):
        found = _saved_datasets(listing, options, names)
        if found:
            return found
    if wanted == "text_files":
        return _text_files(listing, options)
    if wanted == "class_directories" or (wanted == "auto" and not files.is_url(listing.root)):
        return _class_directories(listing, options, wanted == "class_directories")
    return None


def _saved_datasets(listing: Listing, options: InputOptions, names: set[str]) -> list[InputFile]:
    """The .arrow files of every `save_to_disk` directory in the listing, in the order their state.json names them."""
    found = []
    by_name = {entry.name: entry for entry in listing.entries}
    for entry in listing.entries:
        place = PurePosixPath(entry.name)
        if place.name != _STATE or (place.parent / _INFO).as_posix() not in names:
            continue
        state = _json(entry.path)
        if state.get("_indices_files") or state.get("_indices_data_files"):
            raise UserError(f"{entry.path}: the dataset is a selection of rows; write it with flatten_indices() first")
        info = _json(by_name[(place.parent / _INFO).as_posix()].path)
        own = replace(options, format="arrow", labels=options.labels or class_names(info, options.label_field))
        if own.split is None and (place.parent.parent / _SPLITS).as_posix() in names:
            own = replace(own, split=SPLIT_NAMES.get(place.parent.name))
        for data_file in state.get("_data_files", []):
            name = (place.parent / str(data_file["filename"])).as_posix()
            if name not in by_name:
                raise UserError(f"{entry.path}: names {data_file['filename']}, which is missing")
            found.append(InputFile(by_name[name].path, name, own, by_name[name].identity))
    places = {PurePosixPath(file.name).parent for file in found}
    known = {entry.name for entry in listing.entries if PurePosixPath(entry.name).parent in places}
    others = sum(e.name not in known and PurePosixPath(e.name).name not in _DESCRIPTIONS for e in listing.entries)
    if found and others:
        log.info("%s: read as saved datasets; %d other files there are not read", listing.root, others)
    return found


def _json(path: str) -> dict[str, Any]:
    try:
        value = json.loads(files.read_small(path))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); save the dataset again") from None
    return value if isinstance(value, dict) else {}


def _by_directory(listing: Listing) -> dict[PurePosixPath, int]:
    """The directories that hold text files, and how many."""
    if files.is_url(listing.root):
        raise UserError(
            f"{listing.root}: directories of text files can only be read from a local disk; copy them there"
        )
    found: dict[str, int] = {}
    for entry in listing.entries:
        folder, _, name = entry.name.rpartition("/")
        if files.is_document(name):
            found[folder] = found.get(folder, 0) + 1
    return {PurePosixPath(folder): count for folder, count in found.items()}


def _text_files(listing: Listing, options: InputOptions) -> list[InputFile]:
    """One input a directory that holds text files, each a document."""
    own = replace(options, format="class_files")
    root = Path(listing.root)
    return [
        InputFile(str(root / place), place.as_posix() if place.name else root.resolve().name, own)
        for place in sorted(_by_directory(listing))
    ]


def _class_directories(listing: Listing, options: InputOptions, asked: bool) -> list[InputFile] | None:
    """One input a class directory; a directory counts as one of several when it holds text files. Unless asked for,
    they are taken for class directories only when they are called pos and neg."""
    groups: dict[PurePosixPath, set[str]] = {}
    for place in _by_directory(listing):
        if place.name:
            groups.setdefault(place.parent, set()).add(place.name)
    if not asked:
        groups = {parent: names for parent, names in groups.items() if {"pos", "neg"} <= names}
    if not groups:
        return None
    classes = sorted({name for names in groups.values() for name in names} - set(_NO_CLASS))
    own = replace(options, format="class_files", labels=options.labels or tuple(map(as_utf8, classes)))
    number = _numbering(own.labels, listing.root)
    found = []
    for parent in sorted(groups):
        split = own.split or (SPLIT_NAMES.get(parent.name) if len(groups) > 1 else None)
        for name in sorted(groups[parent]):
            place = parent / name
            label = own.label if name in _NO_CLASS else number(name)
            path = str(Path(listing.root, place))
            found.append(InputFile(path, place.as_posix(), replace(own, label=label, split=split)))
    inside = {file.name for file in found}
    others = sum(entry.name.rpartition("/")[0] not in inside for entry in listing.entries)
    if others:
        log.info("%s: read as class directories; %d other files there are not read", listing.root, others)
    return found


def _numbering(labels: tuple[str, ...], root: str) -> Callable[[str], int]:
    def number(name: str) -> int:
        if as_utf8(name) not in labels:
            raise UserError(f"{root}: class directory {name!r} is not in labels {list(labels)}; add it there")
        return labels.index(as_utf8(name))

    return number
