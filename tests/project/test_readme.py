"""The README tells the truth: its commands exist with the options it names, and every file has its line."""

from __future__ import annotations

import functools
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _commands(name: str = "README.md") -> list[list[str]]:
    """The words of every command line in a README's shell blocks, comments left out."""
    readme = (ROOT / name).read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(readme) for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@functools.cache
def _help(*program: str) -> str:
    """What a program prints for --help, in this process: starting Python and torch takes longer than all of them."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), pytest.raises(SystemExit) as end:
        patch.chdir(ROOT)
        patch.setattr("sys.argv", [program[-1], "--help"])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
            if program[0] == "-m":
                runpy.run_module(program[1], run_name="__main__")
            else:
                runpy.run_path(program[0], run_name="__main__")
    assert not end.value.code, program
    return out.getvalue()


def test_shows_the_two_and_the_four_commands() -> None:
    lines = [" ".join(words) for words in _commands()]
    road = [
        "make demo",
        "make test",
        "python -m pipeline.process --resume",
        "torchrun train.py --config config.yaml --ddp",
        "python train.py --resume_from out/ckpt.pth",
        "python inference.py --interactive",
    ]
    assert [line for line in lines if line in road][: len(road)] == road


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_command_exists_with_its_options(words: list[str]) -> None:
    head, arguments = words[0], words[1:]
    if head == "make":
        targets = [word for word in arguments if "=" not in word]
        makefile = (ROOT / "Makefile").read_text()
        assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in targets)
        return
    if head in ("source", "git", "cd"):
        return
    if head == "pip":
        *install, what = arguments
        assert install == ["install", "-e"] and what.startswith(".")
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(filter(None, what[1:].strip("[]").split(","))) <= set(known)
        return
    assert head in ("python", "torchrun"), f"a command this test does not know: {words}"
    if head == "torchrun":
        arguments = [word for word in arguments if not word.startswith("--nproc")]
    program = arguments[:2] if arguments[0] == "-m" else arguments[:1]
    text = _help(*program)
    for option in (word.partition("=")[0] for word in arguments[len(program) :] if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", text), f"{' '.join(program)} has no {option}"


def test_the_chinese_readme_says_the_same() -> None:
    """The same commands, code, outputs and links in the same order; the map of files is in the English one alone."""
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert _commands("README.zh-CN.md") == _commands()
    for pattern in (r"^```(?:python|text)\n(.*?)^```", r"\]\((docs/[^)]*\.md)\)", r"`(--[^`]*|python [^`]*)`"):
        kept = re.compile(pattern, re.MULTILINE | re.DOTALL)
        body = english.partition("## What was measured")[0]
        assert kept.findall(chinese.partition("## 实测")[0]) == kept.findall(body), pattern
    without_map = english.replace("\n## The map of the house\n", "\n").count("\n## ")
    assert chinese.count("\n## ") == without_map


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_links_lead_somewhere(name: str) -> None:
    readme = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", readme):
        assert target.startswith("https://") or (ROOT / target).is_file(), target
    outline = {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
               for line in re.findall("^## (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)}  # fmt: skip
    assert set(re.findall(r"README\.md#([^)]+)", readme)) <= outline


def test_every_file_has_its_line() -> None:
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, check=False).returncode != 0:
        pytest.skip("not a git checkout")
    check = [sys.executable, ".ci/house_map.py", "--check"]
    result = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    readme = (ROOT / "README.md").read_text()
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in os.fsdecode(listing).split("\0"):
        if (ROOT / name).is_file() and Path(name).name not in ("__init__.py", ".gitkeep"):
            assert re.search(rf"^- `{re.escape(name)}` — \S", readme, re.MULTILINE), name
