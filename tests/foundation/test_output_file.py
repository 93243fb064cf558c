"""Results take the place of files, never of what they are made from, of devices, of pipes or of links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.output_file import output_file


@pytest.mark.usefixtures("in_a_directory_of_its_own")
def test_files_and_links_to_files() -> None:
    Path("there").touch()
    for link, target in (("link", "there"), ("hanging", "new"), ("second", "link")):
        Path(link).symlink_to(target)
    found = [output_file(Path(name), Path("missing")) for name in ("new", "deep/new", "there", "link", "hanging")]
    assert found == [Path("new"), Path("deep/new"), Path("there"), Path.cwd() / "there", Path.cwd() / "new"]
    for name in ("there", "link", "second"):
        with pytest.raises(UserError, match=f"--output {name}: is the file that is read; give another name"):
            output_file(Path(name), Path("there"))


@pytest.mark.usefixtures("in_a_directory_of_its_own")
def test_what_is_no_file_stays() -> None:
    os.mkfifo("pipe")
    Path("link").symlink_to(os.devnull)
    for name in ("pipe", "link", os.devnull, "."):
        with pytest.raises(UserError, match="is a directory, a device or a pipe; give the name of a file"):
            output_file(Path(name))
