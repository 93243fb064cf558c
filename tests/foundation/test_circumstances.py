"""The circumstances of a run: a command without secrets, a machine without its name."""

from __future__ import annotations

import platform

from foundation.circumstances import machine, retyped, typed


def test_the_command_hides_credentials() -> None:
    arguments = [
        "/usr/bin/python3.11",
        "-m",
        "pipeline.process",
        "--input",
        "s3://me:secret@bucket/a b",
        "?api_key=geheim&x=1",
    ]
    shown = typed(arguments)
    assert shown.startswith("python3.11 -m pipeline.process --input 's3://…@bucket/a b'")
    assert "secret" not in shown and "geheim" not in shown


def test_a_command_is_typed_again_with_other_flags() -> None:
    words = ["/bin/python", "train.py", "--name", "x", "--max-steps=3", "--no_report", "--max_steps", "4"]
    words += ["--list", "a", "-1", "--name", "y"]
    assert retyped(words, {"max_steps", "list"}, ["--new", "a b"]) == (
        "python train.py --name x --no_report --name y --new 'a b'"
    )
    assert retyped(words, {"report", "name"}, []) == "python train.py --max-steps=3 --max_steps 4 --list a -1"


def test_the_machine_is_described_without_its_name() -> None:
    words = machine()
    assert "CPU" in words and f"Python {platform.python_version()}" in words
    assert not platform.node() or platform.node() not in words
