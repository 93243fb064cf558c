"""The circumstances of a run: a command without secrets, a machine without its name."""

from __future__ import annotations

import platform

import pytest

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


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("https://b.s3.amazonaws.com/x?X-Amz-Credential=SECRET&X-Amz-Signature=SECRET", "https://b.s3.amazonaws.com/x?…"),
        ("--input=https://a.blob.core.windows.net/c/x?sv=2024&sig=SECRET%3D", "https://a.blob.core.windows.net/c/x?…"),
        ("https://host/x.jsonl?sig=SECRET@SECRET", "https://host/x.jsonl?…"),
        ("https://host/x.jsonl?next=https://SECRET/SECRET", "https://host/x.jsonl?…"),
        ("s3://key:SEC/RET@bucket/x", "s3://…@bucket/x"),
        ("s3://key:SEC@RET@bucket/x", "s3://…@bucket/x"),
        ("s3://SECRET@SECRET@bucket/x", "s3://…@bucket/x"),
        ("https://key:SECRET?SECRET@host/x", "https://…?…"),
        ("https://SECRET?SECRET@host", "https://…?…"),
        ("https://key:SEC/RET?SECRET@host/x", "https://…?…"),
        ("zip://a.jsonl::s3://key:SECRET@bucket/x.zip", "zip://a.jsonl::s3://…@bucket/x.zip"),
        ("?from=https://key:SECRET@host/x", "?from=https://…@host/x"),
        ("hf://datasets/own/name@main:config/train", "hf://datasets/own/name@main:config/train"),
        ("https://localhost:9000/bucket/x.jsonl", "https://localhost:9000/bucket/x.jsonl"),
        ("--tokenizer=mine", "--tokenizer=mine"),
        ("--max_tokens=5M", "--max_tokens=5M"),
        ("--hub_token=SECRET", "--hub_token=…"),
    ],
)  # fmt: skip
def test_no_url_shows_its_query_or_its_password(word: str, shown: str) -> None:
    told = typed(["python", "-m", "pipeline.process", "--input", word, "s3://bucket/y"])
    assert shown in told and told.endswith("s3://bucket/y")
    assert "SEC" not in told and "RET" not in told


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
