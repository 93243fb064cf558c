"""docs/interop.md: its Python and its exports run as they stand, its flags exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

import inference
import train
from export.gguf import GgufFlags, main
from foundation.flags import FlagSet
from generation.config import GenerationSettings
from pipeline.config import PipelineConfig
from training.config import TrainFlags

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")


def test_what_the_page_shows_runs(
    make_directory: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_directory()
    (directory.parent / "out").mkdir()
    directory.rename(directory.parent / "out" / "best")
    monkeypatch.chdir(directory.parent)
    commands = re.findall(r"^    python -m export\.gguf (.*)$", TEXT, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)) == 0
    formats = {path.name: gguf.GGUFReader(path).get_field("general.file_type") for path in Path().glob("*.gguf")}
    assert {name: field.contents() for name, field in formats.items() if field} == {"poet.gguf": 0, "poet-q8.gguf": 7}
    (code,) = (part.split("```")[0] for part in TEXT.split("```python\n")[1:])
    exec(compile(code, "interop.md", "exec"), {})
    assert "Once upon a time" in capsys.readouterr().out


def test_every_flag_of_the_page_exists() -> None:
    sets = [
        FlagSet(train.SECTIONS, TrainFlags),
        FlagSet({"generation": GenerationSettings}, inference.Flags),
        FlagSet({"pipeline": PipelineConfig}, TrainFlags),
        FlagSet({}, GgufFlags),
    ]
    known = {flag for flags in sets for flag in flags.owner}
    named = set(re.findall(r"--([a-z_]+)", TEXT))
    assert len(named) > 9 and named <= known, named - known
