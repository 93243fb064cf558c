"""Failpoints stop a process exactly where and when the environment says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = """
from pathlib import Path
from foundation.failpoints import failpoint
for number in range(5):
    failpoint("other")
    try:
        failpoint("here", Path("some/file"))
    except OSError as error:
        print(type(error).__name__, error.errno, error.filename, flush=True)
    print(number, flush=True)
"""


def loop(repo_root: Path, value: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: text for key, text in os.environ.items() if key != "MATECONV_FAILPOINT"}
    if value is not None:
        environment["MATECONV_FAILPOINT"] = value
    return subprocess.run(
        [sys.executable, "-c", LOOP], cwd=repo_root, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(("value", "printed"), [("here", ""), ("here:1", ""), ("here:3", "0\n1\n"), ("other:2", "0\n")])
def test_it_kills_at_the_nth_hit(repo_root: Path, value: str, printed: str):
    done = loop(repo_root, value)
    assert done.returncode == -9 and done.stdout == printed


@pytest.mark.parametrize("value", [None, "", "elsewhere", "here:6", "her"])
def test_otherwise_it_does_nothing(repo_root: Path, value: str | None):
    done = loop(repo_root, value)
    assert done.returncode == 0 and done.stdout == "0\n1\n2\n3\n4\n"


def test_it_can_make_the_disk_full_once(repo_root: Path):
    done = loop(repo_root, "here:2:raise=ENOSPC")
    assert done.returncode == 0 and done.stdout == "0\nOSError 28 some/file\n1\n2\n3\n4\n"
