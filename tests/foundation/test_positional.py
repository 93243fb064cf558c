"""Commands with arguments by place, required ones, and sections that are only read."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from foundation.config import Loaded, load_config
from foundation.errors import UserError
from foundation.section import Section


class Show(Section):
    positional: ClassVar[list[str]] = ["dataset"]
    dataset: Path = Field(description="what to show, 100% of it")
    kind: str = Field(description="how")
    input: list[str] = Field([], description="where to look")


class Optional(Section):
    positional: ClassVar[list[str]] = ["action"]
    action: str = Field("info", description="what to do")


class Pipeline(Section):
    input: list[str] = Field(["raw"], description="files")


def show(*argv: str, background: dict[str, type[Section]] | None = None) -> Loaded:
    return load_config("show", "Shows.", {}, Show, argv, background)


def test_a_place_and_flags_in_any_order() -> None:
    wanted = Show(dataset=Path("d/x"), kind="k", input=["a", "b"])
    assert show("d/x", "--kind", "k", "--input", "a", "b").get(Show) == wanted
    assert show("--kind", "k", "d/x", "--input", "a", "b").get(Show) == wanted


def test_a_place_with_a_default_may_be_left_out() -> None:
    assert load_config("o", "", {}, Optional, []).get(Optional).action == "info"
    assert load_config("o", "", {}, Optional, ["clear"]).get(Optional).action == "clear"


def test_what_is_missing_is_named_once() -> None:
    with pytest.raises(UserError, match=r"^show needs DATASET and --kind; `show --help`"):
        show()
    with pytest.raises(UserError, match=r"^show needs --kind;"):
        show("d/x")


def test_a_misspelt_flag_is_named_before_what_is_missing() -> None:
    with pytest.raises(UserError, match="did you mean --kind"):
        show("d/x", "--kin", "k")


def test_one_place_too_many() -> None:
    with pytest.raises(UserError, match="unknown option 'more'"):
        show("d/x", "more", "--kind", "k")


def test_help_shows_the_place_and_what_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        show("--help")
    told = " ".join(capsys.readouterr().out.split())
    assert "[DATASET]" in told and "what to show, 100% of it (required)" in told
    assert "--config" not in told


def test_background_sections_are_read_but_are_no_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("pipeline: {input: [mine]}\n")
    loaded = show("d/x", "--kind", "k", background={"pipeline": Pipeline})
    assert loaded.get(Pipeline).input == ["mine"] and loaded.get(Show).input == []
    assert show("d/x", "--kind", "k", "--input", "a", background={"pipeline": Pipeline}).get(Pipeline).input == ["mine"]
