"""A dataset to verify, and copies of it to damage and repair."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.process import process

from .damage import configuration, copy_with_work


@pytest.fixture(scope="session")
def original(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with its work area; read only."""
    output = tmp_path_factory.mktemp("original") / "dataset" / "x"
    process(configuration(corpus, tokenizer, output))
    return output


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    """A copy of it, with its work area, that a test may damage."""
    return copy_with_work(original, tmp_path)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file but the defaults."""
    monkeypatch.chdir(tmp_path)
