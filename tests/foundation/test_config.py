"""The configuration loader, seen through a small command of its own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from pydantic import Field

from foundation.config import load_config
from foundation.errors import UserError
from foundation.section import Section

from .small_command import Flags, Model, Training, load, problems, yaml_file

pytestmark = pytest.mark.usefixtures("in_a_directory_of_its_own")


def test_defaults_without_any_file():
    loaded = load()
    assert loaded.get(Model) == Model() and loaded.get(Training) == Training() and loaded.get(Flags) == Flags()
    assert loaded.given == frozenset()


def test_flags_win_over_the_file_and_the_file_over_defaults():
    loaded = load("--config", yaml_file("model: {hidden_size: 64, head_dim: 8}\n"), "--hidden_size", "96")
    assert (loaded.get(Model).hidden_size, loaded.get(Model).head_dim, loaded.get(Model).num_hidden_layers) == (
        96,
        8,
        6,
    )
    assert loaded.given == {"hidden_size", "head_dim"}


def test_the_default_file_is_config_yaml_in_the_current_directory():
    yaml_file("training: {batch_size: 3}\n", "config.yaml")
    assert load().get(Training).batch_size == 3
    assert load("--config", yaml_file("training:\n")).get(Training).batch_size == 8


@pytest.mark.parametrize("spelling", ["--batch_size", "--batch-size"])
@pytest.mark.parametrize("joined", [True, False])
def test_underscores_and_dashes_are_alike(spelling: str, joined: bool):
    argv = [f"{spelling}=5"] if joined else [spelling, "5"]
    assert load(*argv).get(Training).batch_size == 5


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--compile"], True),
        (["--compile", "true"], True),
        (["--compile", "false"], False),
        (["--no_compile"], False),
        (["--no-compile"], False),
        ([], True),
    ],
)
def test_booleans(argv: list[str], expected: bool):
    assert load("--config", yaml_file("training: {compile: true}"), *argv).get(Training).compile is expected


def test_a_flag_without_value_may_precede_another_flag():
    loaded = load("--resume", "--batch_size", "2")
    assert loaded.get(Flags).resume is True and loaded.get(Training).batch_size == 2


@pytest.mark.parametrize("spelling", ["--local_rank", "--local-rank", "--rank_here", "--rank-here"])
def test_aliases(spelling: str):
    assert load(f"{spelling}=3").get(Flags).local_rank == 3


class _Length(Section):
    aliases: ClassVar[dict[str, list[str]]] = {"max_steps": ["--max_iters"]}
    max_steps: int = Field(1, description="steps")


class _Parts(_Length):
    aliases: ClassVar[dict[str, list[str]]] = {"note": ["--remark"]}
    note: str = Field("", description="note")


def test_aliases_of_every_part_hold_in_the_file_too():
    def parts(*argv: str) -> _Parts:
        return load_config("prog", "A command.", {"training": _Parts}, Section, argv).get(_Parts)

    given = parts("--config", yaml_file("training: {max_iters: 7, remark: x}"))
    assert (given.max_steps, given.note) == (7, "x")
    assert parts("--max-iters", "3", "--remark", "y").max_steps == 3
    with pytest.raises(UserError, match="'max_iters' is another name of 'max_steps'"):
        parts("--config", yaml_file("training: {max_steps: 7, max_iters: 7}"))
    with pytest.raises(UserError, match=r"c.yaml:2: max_steps.*valid integer"):
        parts("--config", yaml_file("training:\n  max_iters: many"))


def test_it_knows_what_the_command_line_gave():
    loaded = load("--config", yaml_file("training: {note: x}"), "--batch-size", "2")
    assert loaded.by_flag == {"batch_size"} and loaded.given == {"batch_size", "note"}


def test_null_unsets_only_what_may_be_null():
    loaded = load("--max_steps", "null", "--note", "none")
    assert loaded.get(Training).max_steps is None and loaded.get(Training).note is None
    assert load("--place", "null").get(Training).place == Path("null")  # a path of that name
    assert "batch_size" in problems("--batch_size", "null")


def test_lists_take_several_values_and_end_at_the_next_flag():
    assert load("--inputs", "x", "y z", "--batch_size", "2").get(Training).inputs == ["x", "y z"]
    assert load("--config", yaml_file("training: {inputs: [p, q]}")).get(Training).inputs == ["p", "q"]


def test_a_list_goes_on_where_its_flag_is_repeated():
    """As `--input a --input b` means elsewhere. It takes the place of the file's list all the same, and other flags
    hold what was said last, pairs among them."""
    path = yaml_file("training: {inputs: [p, q]}")
    again = ("--inputs", "x", "--batch_size", "2", "--inputs=y", "--inputs", "z", "w")
    assert load("--config", path, *again).get(Training).inputs == ["x", "y", "z", "w"]
    assert load("--inputs", "v").get(Training).inputs == ["v"]  # nothing is left from the call before
    twice = load("--pair", "1", "2", "--batch_size", "3", "--pair", "3", "4", "--batch_size", "4").get(Training)
    assert (twice.pair, twice.batch_size) == ((3.0, 4.0), 4)


def test_every_problem_at_once_each_with_its_place_and_the_nearest_key():
    path = yaml_file(
        "# comment\n"
        "modle:\n"
        "  hidden_size: 4\n"
        "model:\n"
        "  hiden_size: 64\n"
        "  num_hidden_layers: 0\n"
        "training:\n"
        "  learning_rate: fast\n"
        "  zzzzzz: 1\n"
        "data: 7\n"
    )
    message = problems("--config", path, "--batch_size", "-2", "--local_rank", "one")
    lines = [line.strip() for line in message.splitlines()]
    assert len(lines) == 1 + 8
    places = sorted(line.split(": ")[0] for line in lines[1:])
    assert places == sorted(
        ["c.yaml:2", "c.yaml:5", "c.yaml:6", "c.yaml:8", "c.yaml:9", "c.yaml:10", "--batch_size", "--local_rank"]
    )
    assert "unknown section 'modle'; did you mean model?" in message
    assert "unknown key 'hiden_size'; did you mean hidden_size?" in message
    assert "(got 'fast')" in message and "(got 0)" in message
    assert next(line for line in lines if "zzzzzz" in line).endswith("unknown key 'zzzzzz'")  # nothing is near


@pytest.mark.parametrize("given", [["1"], ["1", "2", "3"]])
def test_a_pair_takes_two_values(given: list[str]) -> None:
    assert load("--pair", "1", "2").get(Training).pair == (1.0, 2.0)
    wanted = "pair: takes 2 values, for example --pair 0.5 2.0 (got"
    assert problems("--pair", *given).count(f"--pair: {wanted} {given!r})") == 1
    for text in ("[]", "3", "[1]"):
        message = problems("--config", yaml_file(f"training:\n  pair: {text}\n"))
        assert message.count(wanted) == 1 and f"(got {text})" in message
    assert "valid number" in problems("--pair", "1", "x")


def test_a_combination_of_values_is_reported_without_pydantic_s_words():
    message = problems("--batch_size", "13")
    assert "batch_size 13 brings bad luck; take 14" in message and "Value error" not in message


def test_sections_of_other_commands_are_left_alone():
    loaded = load("--config", yaml_file("pipeline: {whatever: 1}\ngeneration:\n  top_k: 5\nmodel: {hidden_size: 2}\n"))
    assert loaded.get(Model).hidden_size == 2


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--batchsize", "2"], "did you mean --batch_size?"),
        (["--hidden-sizes=2"], "did you mean --hidden_size?"),
        (["--print_confg"], "did you mean --print_config?"),
        (["stray"], "'stray'"),
        (["--batch_size"], "expected one argument"),
    ],
)
def test_unknown_options_name_the_nearest_one(argv: list[str], hint: str):
    message = problems(*argv)
    assert hint in message and "prog --help" in message


def test_options_are_never_abbreviated():
    assert "unknown option '--hidden'" in problems("--hidden", "2")


def test_print_config_prints_the_merged_result_which_reloads_to_the_same_values(capsys: pytest.CaptureFixture[str]):
    path = yaml_file("training: {max_steps: 2M, patience: 30m}\nmodel: {head_dim: 4}\n")
    argv = [
        "--config", path, "--memory", "24GB", "--learning_rate", "1e-5", "--compile", "--inputs", "a b", "c: d", "诗",
        "--note", "x: 'y' # z ... \\ \n", "--place", "/tmp/a#b",
    ]  # fmt: skip
    expected = load(*argv)
    with pytest.raises(SystemExit) as stopped:
        load(*argv, "--print_config")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    again = load("--config", yaml_file(printed, "again.yaml"))
    assert again.sections == expected.sections
    document = yaml.safe_load(printed)
    assert document["training"]["max_steps"] == 2_000_000 and document["training"]["patience"] == 1800
    assert list(document) == ["model", "training"]
    for key in Training.model_fields:
        assert f"  {key}: " in printed
    assert "# peak rate, 100% of it" in printed


def test_help_shows_every_leaf_with_description_and_default(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        load("--help")
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "A command." in shown and "peak rate, 100% of it (default: 0.0003)" in shown
    for key in [*Model.model_fields, *Training.model_fields, *Flags.model_fields, "config", "print_config"]:
        assert f"--{key}" in shown


def test_sections_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load().get(Model).hidden_size = 3  # type: ignore[misc]
