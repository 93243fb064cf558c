"""Write config.yaml from the settings' own documentation, so that a default and its meaning are stated once."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from foundation.section import Section  # noqa: E402
from generation.config import GenerationSettings  # noqa: E402
from model.config import ModelConfig  # noqa: E402
from pipeline.config import PipelineConfig  # noqa: E402
from training.config import DataConfig, LoggingConfig, TrainingConfig  # noqa: E402

HEADER = """\
# Every setting with its meaning. Each leaf is also a flag of its command: --batch_size 64, or --batch-size 64.
# `python -m pipeline.process` reads pipeline; train.py data, model, training, logging; inference.py generation.
# Counts may be written 500k or 5M, sizes 64MB. --print_config shows what a command would run with.
"""
SECTIONS: dict[str, type[Section]] = {
    "pipeline": PipelineConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "logging": LoggingConfig,
    "generation": GenerationSettings,
}


def config_text() -> str:
    """The file's text: every section, every key under its description, with its default."""
    lines = [HEADER]
    for name, kind in SECTIONS.items():
        lines.append(f"{name}:")
        values = kind().model_dump(mode="json")
        for key, field in kind.model_fields.items():
            lines += [f"  # {line}" for line in textwrap.wrap(field.description or "", 112)]
            dumped = yaml.safe_dump(values[key], default_flow_style=True, allow_unicode=True, width=10**6)
            lines.append(f"  {key}: {dumped.strip().removesuffix('...').strip()}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (ROOT / "config.yaml").write_text(config_text(), encoding="utf-8")
