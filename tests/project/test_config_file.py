"""config.yaml is what the settings' own documentation gives, and every command reads it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from foundation.config import load_config
from foundation.section import Section

ROOT = Path(__file__).resolve().parents[2]


class NoFlags(Section):
    pass


def generator():
    spec = importlib.util.spec_from_file_location("config_file", ROOT / ".ci" / "config_file.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_config_file_is_current() -> None:
    assert (ROOT / "config.yaml").read_text(encoding="utf-8") == generator().config_text(), "run `make map`"


@pytest.mark.parametrize("name", ["pipeline", "data", "model", "training", "logging", "generation"])
def test_every_section_loads_to_its_defaults(name: str) -> None:
    kind = generator().SECTIONS[name]
    loaded = load_config("x", "x", {name: kind}, NoFlags, ["--config", str(ROOT / "config.yaml")])
    assert loaded.get(kind) == kind()
    assert set(yaml.safe_load((ROOT / "config.yaml").read_text())[name]) == set(kind.model_fields)
