"""Configuration files that are none, or broken, or empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from .small_command import Training, load, problems, yaml_file

pytestmark = pytest.mark.usefixtures("in_a_directory_of_its_own")


def test_missing_config_file():
    assert problems("--config", "no/such.yaml").startswith("no/such.yaml: no such configuration file")


def test_malformed_config_file_names_the_line():
    assert problems("--config", yaml_file("model:\n  hidden_size: 4\n bad\n")).startswith("c.yaml:")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"model:\n  note: caf\xe9\n", "not UTF-8"),
        (b"model: {\x00}\n", "not valid YAML"),
        (b"- a\n- b\n", "must hold sections"),
        (b"just words\n", "must hold sections"),
        (b"model: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        (b"model: &a\n  b: *a\n", "c.yaml"),
    ],
)
def test_config_files_that_are_no_configuration(data: bytes, what: str):
    Path("c.yaml").write_bytes(data)
    message = problems("--config", "c.yaml")
    assert what in message and "c.yaml" in message


def test_a_key_given_twice_is_a_problem():
    message = problems("--config", yaml_file("model:\n  hidden_size: 4\n  head_dim: 2\n  hidden_size: 8\n"))
    assert "c.yaml:4" in message and "'hidden_size'" in message


def test_a_directory_is_no_config_file():
    Path("d").mkdir()
    assert problems("--config", "d").startswith("d: is a directory")


def test_an_empty_config_file_means_defaults():
    assert load("--config", yaml_file("# nothing\n")).get(Training) == Training()
