"""A small command of its own, through which the tests see the configuration loader. Its files lie where the test is."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, model_validator

from foundation.config import Loaded, load_config
from foundation.errors import UserError
from foundation.quantities import Count, Duration, Size
from foundation.section import Section


class Model(Section):
    hidden_size: int = Field(256, ge=1, description="width")
    num_hidden_layers: int = Field(6, ge=1, description="depth")
    head_dim: int | None = Field(None, description="width of a head: null derives it")


class Training(Section):
    batch_size: int = Field(8, ge=1, description="rows")
    learning_rate: float = Field(3e-4, gt=0, description="peak rate, 100% of it")
    max_steps: Count | None = Field(1000, description="steps")
    memory: Size = Field(1, description="bytes")
    patience: Duration = Field(0.0, description="seconds")
    compile: bool = Field(False, description="compile")
    inputs: list[str] = Field(["a"], description="files")
    note: str | None = Field(None, description="free text")
    place: Path = Field(Path("out"), description="where")
    pair: tuple[float, float] = Field((0.5, 2.0), description="two numbers")

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.batch_size == 13:
            raise ValueError("batch_size 13 brings bad luck; take 14")
        return self


class Flags(Section):
    aliases: ClassVar[dict[str, list[str]]] = {"local_rank": ["--local-rank", "--rank-here"]}
    resume: bool = Field(False, description="go on")
    local_rank: int | None = Field(None, description="rank")


SECTIONS: dict[str, type[Section]] = {"model": Model, "training": Training}


def load(*argv: str) -> Loaded:
    return load_config("prog", "A command.", SECTIONS, Flags, argv)


def yaml_file(text: str, name: str = "c.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def problems(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        load(*argv)
    return str(caught.value)
