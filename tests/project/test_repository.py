"""The repository: licence, dependencies, entry points, and nothing of one person's machine in it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The import name of a package, where it differs from the name it is installed by.
IMPORT_NAMES = {"pyyaml": "yaml", "huggingface-hub": "huggingface_hub", "lingua-language-detector": "lingua"}
# What another package finds for itself (fsspec for a protocol, torch for its SummaryWriter); never imported by name.
PLUGINS = {"s3fs", "aiohttp", "tensorboard"}


def tracked_files(root: Path) -> list[Path]:
    """Every file that git tracks; the test is skipped outside a git checkout."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [root / name for name in os.fsdecode(listing.stdout).split("\0") if name]


def _project(root: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return project


def _third_party_imports(root: Path) -> Iterator[tuple[str, Path]]:
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    ours = {*settings["importlinter"]["root_packages"], *settings["setuptools"]["py-modules"]}
    for package in sorted(ours):
        single = root / f"{package}.py"
        for path in [single] if single.exists() else sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                for name in names:
                    top = name.partition(".")[0]
                    if top not in ours and top not in sys.stdlib_module_names:
                        yield top, path


def test_declared_is_what_is_imported(repo_root: Path) -> None:
    project = _project(repo_root)
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    lines = [*project["dependencies"], *extras]
    declared = {
        IMPORT_NAMES.get(name, name) for name in (canonicalize_name(Requirement(line).name) for line in lines)
    } - PLUGINS
    imported: dict[str, Path] = dict(_third_party_imports(repo_root))
    assert {name: str(path) for name, path in imported.items() if name not in declared} == {}
    assert declared - set(imported) == set()


def test_licence_is_mit(repo_root: Path) -> None:
    text = (repo_root / "LICENSE").read_text()
    assert text.startswith("MIT License\n") and "MateConv contributors" in text
    assert tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]["license"] == "MIT"


def test_no_machine_in_the_repository(repo_root: Path) -> None:
    # Absolute directories of one machine, and package registries: a clone works anywhere, behind any mirror.
    # Spelt in pieces, so that this file does not match itself.
    machine = re.compile("|".join(["/" + "work/", "/" + "root/", "/" + "tmp/w", "/" + "home/", "/" + "Users/"]))
    registry = re.compile("py" + r"pi\.org|python" + r"hosted|--(extra-)?index" + r"-url|find" + "-links")
    for path in tracked_files(repo_root):
        if not path.exists():
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        assert not machine.search(text), path
        if path.name != "Makefile":  # `make lock` tells uv to write no registry into the lock
            assert not registry.search(text), path


def test_ci_runs_what_people_run(repo_root: Path) -> None:
    script = repo_root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make test" in script.read_text().splitlines()


def test_made_things_are_not_tracked(repo_root: Path) -> None:
    below = [path.relative_to(repo_root) for path in tracked_files(repo_root)]
    kept = [path.as_posix() for path in below if path.parts[0] in ("dataset", "out")]
    assert sorted(kept) == ["dataset/.gitkeep", "out/.gitkeep"]


def test_every_file_says_its_job(repo_root: Path) -> None:
    tests = repo_root / "tests"
    for path in tracked_files(repo_root):
        if path.suffix == ".py" and path.exists() and not path.is_relative_to(tests):
            assert ast.get_docstring(ast.parse(path.read_text())), path
