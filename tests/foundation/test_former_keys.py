"""Files of MateConv, whose keys have another place today."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from foundation.config import Loaded, load_config
from foundation.errors import UserError
from foundation.section import Section


class Training(Section):
    epochs: int = Field(1, description="passes")


class Logging(Section):
    log_interval: int = Field(10, description="steps")
    use_wandb: bool = Field(False, description="switch")
    wandb_project: str = Field("ours", description="project")
    wandb_run_name: str | None = Field(None, description="run")


class Nothing(Section):
    pass


def load(tmp_path: Path, text: str, **sections: type[Section]) -> Loaded:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    known = sections or {"training": Training, "logging": Logging}
    return load_config("prog", "A command.", known, Nothing, ["--config", str(file)])


def test_former_keys_arrive_beside_those_of_today(tmp_path: Path) -> None:
    text = "training: {epochs: 3, log_interval: 7}\nlogging: {wandb_run_name: n}\nwandb: {enable: true, project: p}\n"
    loaded = load(tmp_path, text)
    assert loaded.get(Logging) == Logging(log_interval=7, use_wandb=True, wandb_project="p", wandb_run_name="n")
    assert loaded.get(Training).epochs == 3
    assert {"use_wandb", "log_interval"} <= loaded.given
    assert load(tmp_path, "wandb:\nlogging:\n").get(Logging) == Logging()
    assert load(tmp_path, "wandb: {run_name: n}\nlogging:\n").get(Logging).wandb_run_name == "n"


def test_a_command_that_reads_others_takes_no_notice(tmp_path: Path) -> None:
    text = "training: {epochs: 3, log_interval: 7}\nwandb: {enable: true}\n"
    assert load(tmp_path, text, training=Training).get(Training).epochs == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wandb: {enable: true}\nlogging:\n  use_wandb: false\n", "c.yaml:1: wandb.enable is another name of logging."),
        ("wandb:\n  enable: on\n  projekt: p\n", "c.yaml:3: unknown key 'projekt' in section 'wandb'; did you mean pr"),
        ("wandb: on\n", "c.yaml:1: section 'wandb' must hold keys, found True"),
        ("epochs: 1\nwandb: {}\n", "unknown section 'epochs'"),
        ("wandb:\n  enable: perhaps\n", "c.yaml:2: use_wandb: "),
        ("wandb: {enable: true}\nlogging: 3\n", "section 'logging' must hold keys, found 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_them_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, text)
    assert expected in str(error.value)
