"""Find the input files of a dataset again, by name and size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.inspection.recorded import options_of
from pipeline.settings.inputs import InputSpec
from pipeline.sources.base import InputFile, as_utf8
from pipeline.sources.files import identify
from pipeline.sources.find import find_inputs
from shards.manifest import InputEntry, Manifest


@dataclass(frozen=True)
class FoundInputs:
    """The input files of a dataset, by source number, and why the others are not there."""

    files: dict[int, InputFile]
    missing: dict[int, str]


def find_sources(manifest: Manifest, patterns: Sequence[str | InputSpec], config: PipelineConfig) -> FoundInputs:
    """Look for all inputs of the dataset in `patterns`. Raises `UserError` for a pattern that names nothing."""
    candidates = Candidates.of(patterns, config)
    found = FoundInputs({}, {})
    for number, entry in enumerate(manifest.inputs):
        try:
            found.files[number] = candidates.find(entry)
        except UserError as error:
            found.missing[number] = str(error)
    return found


class Candidates:
    """Files that may be inputs of a dataset. However many there are, only those of a fitting name are looked at, and
    the size of each is asked for once."""

    def __init__(self, files: Sequence[InputFile]) -> None:
        self._paths = [(as_utf8("/" + PurePosixPath(file.path.replace("\\", "/")).as_posix()), file) for file in files]
        self._deepest = max((path.count("/") for path, _ in self._paths), default=0)
        self._by_name = self._grouped((file.name, file) for file in files)
        self._by_end: dict[int, dict[str, _Group]] = {}
        self._sizes: dict[str, int] = {}

    @classmethod
    def of(cls, patterns: Sequence[str | InputSpec], config: PipelineConfig) -> Candidates:
        """The files that `patterns` (files, directories, globs) name. Raises `UserError` for one that names nothing."""
        return cls([file for given in patterns for file in find_inputs(config.model_copy(update={"input": [given]}))])

    def find(self, entry: InputEntry) -> InputFile:
        """The first file of the recorded size under the nearest name. Raises `UserError`: why it is not there.

        A dataset names its inputs relative to what was given when it was made, so a file may be found by the end of
        its path, too.
        """
        other = None
        for group in self._fitting(entry.name):
            # Nothing was read of an input of 0 bytes, since max_samples came before.
            file = group.of_size(entry.bytes) if entry.bytes else group.files[0]
            if file is not None:
                return replace(file, name=entry.name, options=options_of(entry, file))
            other = other or group.files[0]
        if other is None:
            raise UserError(f"{entry.name}: not found; name the file or its directory with --input")
        raise UserError(f"{other.path} has {self._size(other)} bytes, the dataset was made from {entry.bytes}")

    def _fitting(self, name: str) -> Iterator[_Group]:
        """The files of that name, from the nearest to the farthest; one may be in several groups."""
        first, _, rest = name.partition("/")
        short = rest if first.isdigit() and rest else name  # inputs of equal names are told apart by a number in front
        yield from filter(None, map(self._by_name.get, (name, short)))
        yield from filter(None, map(self._with_end, (short, short.rpartition("/")[2])))

    def _with_end(self, end: str) -> _Group | None:
        """The files whose paths end so, in whole parts."""
        parts = end.count("/") + 1
        if parts > self._deepest:
            return None
        if parts not in self._by_end:
            ends = ((path.rsplit("/", parts), file) for path, file in self._paths)
            self._by_end[parts] = self._grouped(
                ("/".join(split[1:]), file) for split, file in ends if len(split) > parts
            )
        return self._by_end[parts].get(end)

    def _grouped(self, keyed: Iterable[tuple[str, InputFile]]) -> dict[str, _Group]:
        groups: dict[str, _Group] = {}
        for key, file in keyed:
            groups.setdefault(key, _Group(self._size)).files.append(file)
        return groups

    def _size(self, file: InputFile) -> int:
        if file.path not in self._sizes:
            self._sizes[file.path] = (file.identity or identify(file.path)).size
        return self._sizes[file.path]


@dataclass
class _Group:
    """Files that one name fits, in the order they were given."""

    size: Callable[[InputFile], int]
    files: list[InputFile] = field(default_factory=list)
    _sized: int = 0
    _first: dict[int, InputFile] = field(default_factory=dict)

    def of_size(self, wanted: int) -> InputFile | None:
        """The first file of so many bytes. Asks no further than that for sizes."""
        while wanted not in self._first and self._sized < len(self.files):
            file = self.files[self._sized]
            self._first.setdefault(self.size(file), file)
            self._sized += 1
        return self._first.get(wanted)
