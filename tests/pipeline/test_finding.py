"""The inputs of a dataset are found again by name and size, as a plain search over all files finds them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from pipeline.inspection import finding
from pipeline.inspection.finding import Candidates
from pipeline.sources.base import Identity, InputFile, InputOptions
from pipeline.sources.files import identify
from shards.manifest import InputEntry

NAMES = st.lists(st.sampled_from(["a", "b", "0", "12", "..", "", "\\"]), min_size=1, max_size=4).map("/".join)
SIZES = st.integers(0, 3)


def candidate(path: str, name: str, size: int) -> InputFile:
    return InputFile(path, name, InputOptions(), Identity(size, "", ""))


def distance(name: str, file: InputFile) -> int:
    """How far a file's name is from the recorded one; 4 where it does not fit."""
    if file.name == name:
        return 0
    first, _, rest = name.partition("/")
    short = rest if first.isdigit() and rest else name
    if file.name == short:
        return 1
    path = "/" + PurePosixPath(file.path.replace("\\", "/")).as_posix()
    if path.endswith("/" + short):
        return 2
    return 3 if path.rpartition("/")[2] == short.rpartition("/")[2] else 4


def plain(entry: InputEntry, files: list[InputFile]) -> InputFile | str:
    """The file that is meant, or a part of what is said of none; every file is looked at."""
    named = sorted((distance(entry.name, file), place) for place, file in enumerate(files))
    fitting = [files[place] for far, place in named if far < 4]
    for file in fitting:
        assert file.identity is not None
        if entry.bytes in (file.identity.size, 0):
            return replace(file, name=entry.name)
    return f"{fitting[0].path} has " if fitting else f"{entry.name}: not found"


FILES = st.lists(st.builds(candidate, NAMES, NAMES, SIZES), max_size=6, unique_by=lambda file: file.path)


@settings(deadline=None)
@given(FILES, st.lists(st.tuples(NAMES, SIZES), max_size=4))
def test_the_same_files_are_found_as_by_a_plain_search(files: list[InputFile], wanted: list[tuple[str, int]]) -> None:
    candidates = Candidates(files)
    for name, size in wanted:
        entry = InputEntry(name=name, bytes=size, fingerprint="")
        expected = plain(entry, files)
        if isinstance(expected, InputFile):
            assert candidates.find(entry) == expected
        else:
            with pytest.raises(UserError) as told:
                candidates.find(entry)
            assert str(told.value).startswith(expected)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["/books/{0}.txt", "/books/{0}/book.txt"])
def test_thousands_of_inputs_are_found(path: str) -> None:
    """A search of each through all of them would take minutes, be their base names equal or not."""
    files = [candidate(path.format(number), f"{number}", number + 1) for number in range(4000)]
    candidates = Candidates(files)
    for place, file in enumerate(files):
        wanted = PurePosixPath(file.path).relative_to("/").as_posix()
        moved = f"elsewhere/{PurePosixPath(file.path).name}"
        for name in (wanted, moved):
            assert candidates.find(InputEntry(name=name, bytes=place + 1, fingerprint="")).path == file.path


def test_each_size_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def remember(path: str) -> Identity:
        asked.append(path)
        return identify(path)

    monkeypatch.setattr(finding, "identify", remember)
    with tempfile.TemporaryDirectory() as place:
        files = []
        for number in range(9):
            path = Path(place, str(number), "book.txt")
            path.parent.mkdir()
            path.write_text("x" * (number + 1))
            files.append(InputFile(str(path), f"{number}", InputOptions()))
        candidates = Candidates(files)
        for _ in range(2):
            for size in (3, 5, 9):
                found = candidates.find(InputEntry(name="gone/book.txt", bytes=size, fingerprint=""))
                assert found.path == files[size - 1].path
        with pytest.raises(UserError, match="has 1 bytes, the dataset was made from 10"):
            candidates.find(InputEntry(name="gone/book.txt", bytes=10, fingerprint=""))
    assert asked == [file.path for file in files]
