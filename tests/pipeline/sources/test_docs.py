"""The examples of docs/sources.md are valid, and it names every format and option there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

from foundation.config import load_config
from pipeline.config import PipelineConfig, ProcessFlags
from pipeline.settings.inputs import InputSpec
from pipeline.sources import hub
from pipeline.sources.compression import SUFFIXES
from pipeline.sources.find import input_options
from pipeline.sources.registry import FORMATS


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_examples(repo_root: Path, tmp_path: Path) -> None:
    text = (repo_root / "docs" / "sources.md").read_text()
    commands = [line for block in blocks(text, "bash") for line in block.splitlines()]
    assert len(commands) >= 5
    for command in commands:
        program, *arguments = shlex.split(command)[2:]
        assert program == "pipeline.process"
        (tmp_path / "empty.yaml").write_text("")
        sections = {"pipeline": PipelineConfig}
        loaded = load_config(
            program, "", sections, ProcessFlags, [*arguments, "--config", str(tmp_path / "empty.yaml")]
        )
        for given in loaded.get(PipelineConfig).input:
            assert isinstance(given, str)
            assert not given.startswith("hf://") or hub.is_dataset(given)
    [block] = blocks(text, "yaml")
    config = PipelineConfig(**yaml.safe_load(block)["pipeline"])
    specs = [given for given in config.input if isinstance(given, InputSpec)]
    for spec in specs:
        input_options(spec, config)
    used = {name for spec in specs for name in spec.model_fields_set}
    assert len(specs) == 5 and len(used) >= 11


def test_everything_is_named(repo_root: Path) -> None:
    text = (repo_root / "docs" / "sources.md").read_text()
    for word in [*FORMATS, *SUFFIXES, *hub.SHORT_NAMES, *InputSpec.model_fields]:
        assert f"`{word}`" in text or f"{word}:" in text or f"{word}=" in text or f"--{word}" in text, word
