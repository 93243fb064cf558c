"""What the tests of the foundation share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory is the test's own."""
    monkeypatch.chdir(tmp_path)
