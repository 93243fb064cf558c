"""The arrows of the house (pyproject.toml, tool.importlinter) hold, and a breach would be noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("foundation", "tokenization", "shards", "pipeline", "model", "training", "generation", "export")

VIOLATIONS = {
    "foundation/logs.py": "import shards.order",
    "shards/order.py": "import tokenization.roles",
    "tokenization/roles.py": "import torch",
    "pipeline/config.py": "import model.config",
    "pipeline/plan.py": "import foundation.device",  # which imports torch
    "training/config.py": "import pipeline.config",
    "model/config.py": "import orjson",
    "generation/config.py": "import shards.order",
    "export/gguf.py": "import generation.config",
}


def _lint(directory: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=directory, capture_output=True, text=True, check=False
    )


def test_arrows_hold(repo_root: Path) -> None:
    result = _lint(repo_root)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("file", VIOLATIONS)
def test_a_forbidden_import_is_noticed(repo_root: Path, tmp_path: Path, file: str) -> None:
    for package in PACKAGES:
        shutil.copytree(repo_root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repo_root / "pyproject.toml", tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text() + f"\n{VIOLATIONS[file]}\n")
    result = _lint(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
