"""The lock: exact, complete for every supported Python, without CUDA packages and without addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("requirements.txt", "requirements-dev.txt")
ENVIRONMENTS = [(python, system) for python in ("3.11", "3.12", "3.13") for system in ("linux", "darwin", "win32")]


def _requirements(root: Path, *names: str) -> list[Requirement]:
    lines = [line for name in names for line in (root / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]


def _pinned(root: Path, python: str, system: str) -> dict[str, list[str]]:
    """The versions that the lock gives each package on one platform."""
    environment: dict[str, str] = {
        **{key: str(value) for key, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_python_implementation": "CPython",
    }
    pinned: dict[str, list[str]] = {}
    for requirement in _requirements(root, *LOCKS):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            pinned.setdefault(name, []).append(str(requirement.specifier))
    return pinned


def test_every_line_is_one_exact_version(repo_root: Path) -> None:
    for requirement in _requirements(repo_root, *LOCKS):
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement
        assert requirement.url is None, requirement


def test_torch_is_pinned_and_brings_its_own_cuda_packages(repo_root: Path) -> None:
    pinned = _pinned(repo_root, "3.11", "linux")
    assert pinned["torch"] == ["==2.13.0"]
    assert not [name for name in pinned if name.startswith(("nvidia", "cuda")) or name == "triton"]


@pytest.mark.parametrize(("python", "system"), ENVIRONMENTS)
def test_declared_packages_are_pinned_once_in_a_version_that_is_allowed(
    repo_root: Path, python: str, system: str
) -> None:
    project = tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["dev"]
    pinned = _pinned(repo_root, python, system)
    assert {name for name, versions in pinned.items() if len(versions) > 1} == set()
    for requirement in map(Requirement, declared):
        (version,) = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version.removeprefix("=="), prereleases=True), requirement


def test_commands_need_nothing_of_the_tests(repo_root: Path) -> None:
    project = tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]
    runtime = {canonicalize_name(requirement.name) for requirement in _requirements(repo_root, LOCKS[0])}
    assert {canonicalize_name(Requirement(line).name) for line in project["dependencies"]} <= runtime
    assert not runtime & {"pytest", "mypy", "ruff", "hypothesis", "import-linter", "transformers"}
    assert (repo_root / LOCKS[1]).read_text().splitlines()[1] == "-r requirements.txt"
