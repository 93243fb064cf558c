"""Find the input files: paths, directories, globs, URLs, hub datasets, each with its options."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.settings.inputs import InputSpec
from pipeline.sources import files, hub
from pipeline.sources.base import InputFile, InputOptions, as_utf8
from pipeline.sources.columns import class_names
from pipeline.sources.directories import SPLIT_NAMES, Listing, expand
from pipeline.sources.records import parse_template
from pipeline.sources.registry import BINARY, KNOWN, classify

_TEXTUAL = ("jsonl", "json", "text", "csv", "tsv")


def find_inputs(config: PipelineConfig) -> list[InputFile]:
    """The input files in order: as given, files within a directory or glob sorted by name.

    Raises `UserError` for what is missing, unreadable or holds no text.
    """
    found: list[InputFile] = []
    for given in config.input:
        spec = InputSpec(path=given) if isinstance(given, str) else given
        found.extend(_expand(spec, config))
    seen: dict[str, str] = {}
    for file in found:
        real = file.path if files.is_url(file.path) else _place(file.path)
        if real in seen:
            raise UserError(f"{file.path}: given twice (also as {seen[real]}); name every file once")
        seen[real] = file.path
    return _distinct_names([replace(file, name=as_utf8(file.name)) for file in found])


def _place(path: str) -> str:
    """A local path without links in its directory. (The hub's cache links files of equal content to one another.)"""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder or "."), name)


def check_apart(inputs: list[InputFile], output: str) -> None:
    """Raise `UserError` for an input that lies in the dataset directory `output`: whose files these are, and what of
    them a dataset replaces, would be anybody's guess."""
    kind, home = _addresses(output)[-1]
    for file in inputs:
        for other, path in _addresses(file.path):
            if other == kind and path.is_relative_to(home):
                raise UserError(
                    f"{file.path}: lies in the output, {output}, where only a dataset's own files belong;"
                    " choose an --output that holds no input"
                )


def _addresses(place: str) -> list[tuple[str, Path]]:
    """Where a place is: the kind of store and the path there. A local link is where it lies and what it leads to."""
    place = place.rpartition("::")[2]  # an archive's own place, of a chain like zip://member::s3://bucket/archive
    if files.is_url(place):
        fs, inside = files.filesystem(place)
        kind = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        if kind != "file":
            return [(kind, Path("/", inside))]
        place = inside
    place = files.local(place)
    return [("file", Path(_place(place))), ("file", Path(os.path.realpath(place)))]


def input_options(spec: InputSpec, config: PipelineConfig) -> tuple[InputOptions, str]:
    """The options of an input, its own before those of the run; and the wanted format, or "auto"."""

    def chosen(name: str) -> Any:
        return getattr(spec if name in spec.model_fields_set else config, name)

    template = chosen("text_template")
    if template is not None:
        parse_template(template)
    options = InputOptions(
        text_field=chosen("text_field") or config.text_field,
        text_template=template,
        label_field=chosen("label_field"),
        labels=tuple(map(as_utf8, chosen("labels") or ())),
        messages_field=chosen("messages_field"),
        text_documents=chosen("text_documents") or config.text_documents,
        text_separator=chosen("text_separator"),
        csv_delimiter=chosen("csv_delimiter") or "",
        csv_quotes=bool(chosen("csv_quotes")),
        csv_header=bool(chosen("csv_header")),
        split=spec.split,
        weight=spec.weight,
    )
    return options, str(chosen("input_format") or "auto")


def settle(name: str, options: InputOptions, wanted: str) -> InputOptions | None:
    """The options with the format and compression of the file `name`; None when it is not of the wanted format."""
    kind = classify(name)
    if wanted in ("class_directories", "text_files"):
        return None
    if wanted != "auto":
        if kind is not None and kind[0] != wanted and not {kind[0], wanted} <= set(_TEXTUAL):
            return None
        kind = (wanted, kind[1] if kind else files_compression(name))
    if kind is None or (kind[1] and kind[0] in BINARY):
        return None
    form, compression = kind
    delimiter = options.csv_delimiter or ("\t" if form == "tsv" or _is_tsv(name) else ",")
    return replace(options, format="csv" if form == "tsv" else form, compression=compression, csv_delimiter=delimiter)


def files_compression(name: str) -> str:
    """The kind of compression that a name tells."""
    from pipeline.sources.compression import split_suffix

    return split_suffix(name)[1]


def _is_tsv(name: str) -> bool:
    kind = classify(name)
    return kind is not None and kind[0] == "tsv"


def _expand(spec: InputSpec, config: PipelineConfig) -> list[InputFile]:
    options, wanted = input_options(spec, config)
    place = spec.path
    if place in hub.SHORT_NAMES and not os.path.exists(place):
        place = hub.SHORT_NAMES[place]
    if hub.is_dataset(place):
        streaming = config.streaming if spec.streaming is None else spec.streaming
        return _hub_files(place, options, wanted, streaming, config)
    if files.is_url(place):
        return _expand_url(place, options, wanted)
    return _expand_path(files.local(place), options, wanted)


def _hub_files(
    address: str, options: InputOptions, wanted: str, streaming: bool, config: PipelineConfig
) -> list[InputFile]:
    dataset = hub.find(address, streaming, config.hub_cache)
    labels = options.labels or class_names(dataset.info, options.label_field)
    found = []
    for file in dataset.files:
        settled = settle(file.name, options, wanted)
        if settled is not None:
            split = options.split or (None if dataset.one_split else SPLIT_NAMES.get(file.split))
            own = replace(settled, split=split, labels=labels)
            found.append(InputFile(file.path, file.name, own, file.identity))
    if not found:
        raise UserError(f"{address}: none of its files is of a kind that can be read ({KNOWN})")
    return found


def _expand_path(pattern: str, options: InputOptions, wanted: str) -> list[InputFile]:
    path = Path(pattern)
    if path.is_dir():
        return _directory(Listing.local(path), options, wanted)
    if path.is_file():
        settled = settle(path.name, options, wanted)
        if settled is None:
            raise UserError(
                f"{path}: unknown kind of file; its name should end in one of {KNOWN}, or name its input_format"
            )
        return [InputFile(str(path), path.name, settled)]
    matches = sorted(glob.glob(pattern, recursive=True))
    found = list(
        _known([(match, os.path.basename(match)) for match in matches if os.path.isfile(match)], options, wanted)
    )
    if not found:
        raise UserError(f"{pattern}: no such file or directory; check --input")
    return found


def _expand_url(url: str, options: InputOptions, wanted: str) -> list[InputFile]:
    fs, inside = files.filesystem(url)
    with files.explained(url):
        if glob.has_magic(inside.replace("?", "") if files.protocol(url) in ("http", "https") else inside):
            infos = fs.glob(inside, detail=True)
            names = sorted(name for name, info in infos.items() if info["type"] == "file")
            addresses = {files.address(fs, name, url): name for name in names}
            listed = [(address, name.rsplit("/", 1)[-1]) for address, name in addresses.items()]
            identities = {address: files.listed_identity(infos[name]) for address, name in addresses.items()}
            found = [replace(file, identity=identities[file.path]) for file in _known(listed, options, wanted)]
            if not found:
                raise UserError(f"{url}: matches no file of a known kind ({KNOWN})")
            return found
        info = fs.info(inside)
    if info["type"] == "directory":
        return _directory(Listing.remote(url), options, wanted)
    name = PurePosixPath(inside.partition("?")[0]).name
    settled = settle(name, options, wanted)
    if settled is None:
        raise UserError(f"{url}: unknown kind of file; its name should end in one of {KNOWN}, or name its input_format")
    return [InputFile(url, name, settled, files.listed_identity(info))]


def _known(listed: list[tuple[str, str]], options: InputOptions, wanted: str) -> Iterator[InputFile]:
    for path, name in listed:
        settled = settle(name, options, wanted)
        if settled is not None and not name.startswith("."):
            yield InputFile(path, name, settled)


def _directory(listing: Listing, options: InputOptions, wanted: str) -> list[InputFile]:
    found = expand(listing, options, wanted)
    if found is None:
        found = []
        for entry in listing.entries:
            settled = settle(entry.name, options, wanted)
            if settled is not None:
                found.append(InputFile(entry.path, entry.name, settled, entry.identity))
    if not found:
        raise UserError(f"{listing.root}: no text in this directory; looked for {KNOWN}")
    return found


def _distinct_names(found: list[InputFile]) -> list[InputFile]:
    names = [file.name for file in found]
    if len(set(names)) == len(names):
        return found
    return [replace(file, name=f"{number}/{file.name}") for number, file in enumerate(found)]
