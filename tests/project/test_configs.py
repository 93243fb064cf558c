"""The recipes in configs/ and the guides about them: each loads in both commands, and names only what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import inference
import train
from foundation.config import load_config
from foundation.flags import RESERVED, FlagSet
from foundation.section import Section
from generation.config import GenerationSettings
from model.build import new_model
from model.config import ModelConfig
from model.encoder.heads import Heads
from model.presets import AUTO, PRESETS
from pipeline.config import PipelineConfig, ProcessFlags
from training.config import DataConfig, LoggingConfig, TrainFlags, TrainingConfig, combination_problems
from training.launch import LaunchFlags

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
GUIDE = ROOT / "docs" / "guides"
PACKAGES = {"foundation", "tokenization", "shards", "pipeline", "model", "training", "generation", "export"}
GUIDES = [*sorted(GUIDE.glob("*.md")), ROOT / "docs" / "encoders.md", ROOT / "docs" / "chat.md"]
OF_BENCHMARKS = {"model", "pretrained", "dataset"}
TORCHRUN = {"standalone", "nnodes", "nproc_per_node", "node_rank", "master_addr", "master_port"}
WIDEST_RATE = {4: 1e-2, 8: 1e-2, 16: 5e-3}
"""The least learning rate that moves a model of that width (MicroBERT's 5e-5 does not)."""


def loaded(path: Path, *flags: str) -> Any:
    return load_config("train.py", "", train.SECTIONS, TrainFlags, ["--config", str(path), *flags])


def stages(path: Path) -> list[list[str]]:
    """The flags of each stage of a recipe; a recipe without stages has one without flags."""
    found = yaml.safe_load(path.read_text()).get("stages", {"": {}})
    return [[word for key, value in stage.items() for word in (f"--{key}", *_words(value))] for stage in found.values()]


def _words(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else ["null" if value is None else str(value)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_in_both_commands(path: Path) -> None:
    sections: dict[str, type[Section]] = {"pipeline": PipelineConfig}
    pipeline = load_config("process", "", sections, ProcessFlags, ["--config", str(path)]).get(PipelineConfig)
    for flags in stages(path):
        recipe = loaded(path, *flags)
        data, model, training = recipe.get(DataConfig), recipe.get(ModelConfig), recipe.get(TrainingConfig)
        logging, options = recipe.get(LoggingConfig), recipe.get(TrainFlags)
        assert not combination_problems(data, training, logging, options, model.max_position_embeddings)
        assert data.sources[0].path == pipeline.output, "trains on what its pipeline makes"
        assert training.task != "mlm_nsp" or pipeline.sentence_borders
        assert training.out_dir.parts[0] == "out"
        least = WIDEST_RATE.get(model.hidden_size, 0)
        assert training.learning_rate >= least
        if training.task.startswith("mlm"):
            assert all("[MASK]" in prompt for prompt in logging.sample_prompts)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_how_to_use_it(path: Path) -> None:
    head = path.read_text().partition("\n\n")[0]
    assert head.startswith("# ") and f"--config configs/{path.name}" in head
    assert "python -m pipeline.process" in head and "train.py" in head and "inference.py" in head
    assert f"`{path.stem}`" in (ROOT / "docs" / "guides" / "recipes.md").read_text()


def test_the_four_versions_have_the_shapes_of_microbert() -> None:
    shapes = {"micro-v1": (2, 2, 4), "micro-v2": (4, 4, 8), "micro-v3": (6, 8, 16), "micro-v4": (8, 8, 256)}
    for name, shape in shapes.items():
        model = loaded(ROOT / "configs" / f"{name}.yaml").get(ModelConfig)
        assert (model.num_hidden_layers, model.num_attention_heads, model.hidden_size) == shape
        assert model.architecture == "bert" and model.feed_forward_size == 4 * model.hidden_size
    assert loaded(ROOT / "configs" / "micro-v4.yaml").get(DataConfig).max_seq_len == 256


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_guide_tells_how_many_weights_the_micro_versions_have(version: int) -> None:
    """Counted in the model that a run makes: its words and positions, and the head that tells masked ones."""
    path = ROOT / "configs" / f"micro-v{version}.yaml"
    words = load_config("process", "", {"pipeline": PipelineConfig}, ProcessFlags, ["--config", str(path)])
    model = new_model(loaded(path).get(ModelConfig), words.get(PipelineConfig).vocab_size, Heads(mlm=True))
    told = re.search(rf"^\| `micro-v{version}` \| (\d+) thousand", (GUIDE / "recipes.md").read_text(), re.MULTILINE)
    assert told and int(told[1]) == round(model.num_parameters() / 1000)


def test_the_guide_names_recipes_and_presets_as_such() -> None:
    """Where it says what to take for a machine, a bare name is a recipe, and a preset stands behind its flag."""
    table = (GUIDE / "recipes.md").read_text().partition("## By the machine")[2].partition("\n## ")[0]
    assert {name for name in re.findall(r"`([a-z]+-[a-z]+)`", table)} <= {path.stem for path in RECIPES}
    presets = [name for name in re.findall(r"--preset ([\w-]+)", table) if name != AUTO]
    assert presets and set(presets) <= set(PRESETS)


def test_troubleshooting_quotes_what_the_programs_say() -> None:
    """A message alone on the left of a row; … stands for what differs."""
    text = "".join(path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    said = re.sub(r'"\s+f?"|\{[^{}]*\}', "", text)  # in one piece, without what differs
    quoted = re.findall(r"^\| `([^`|]+)` \|", (GUIDE / "troubleshooting.md").read_text(), re.MULTILINE)
    parts = [part.strip(" ,") for message in quoted for part in message.split("…")]
    assert len(quoted) > 6 and not [part for part in parts if part not in said]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_the_guides_name_only_flags_and_files_that_there_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {*RESERVED, *TORCHRUN, *OF_BENCHMARKS}
    for sections, flags in (
        (train.SECTIONS, TrainFlags), ({"pipeline": PipelineConfig}, ProcessFlags),
        ({"generation": GenerationSettings}, inference.Flags), ({}, LaunchFlags),
    ):  # fmt: skip
        kinds: list[type[Section]] = [*sections.values(), flags]
        known |= {name.lstrip("-") for kind in kinds for leaf in kind.model_fields for name in kind.other_names(leaf)}
        known |= set(FlagSet(sections, flags).owner)
    named = set(re.findall(r"--([a-z_0-9]+)", text))
    assert named <= known, named - known
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (path.parent / target).is_file(), target
    for recipe in re.findall(r"configs/([a-z0-9-]+)\.yaml", text):
        assert (ROOT / "configs" / f"{recipe}.yaml").is_file(), recipe
