"""The circumstances of a run: a command without secrets, a machine without its name."""

from __future__ import annotations

import platform

from foundation.circumstances import machine, typed


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


def test_the_machine_is_described_without_its_name() -> None:
    words = machine()
    assert "CPU" in words and f"Python {platform.python_version()}" in words
    assert not platform.node() or platform.node() not in words
