"""The default corpus: big enough, the same every time, clean, and made without running the code it reads."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from pipeline.default_corpus import collect


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect(tmp_path_factory.mktemp("raw"), progress=False)


@pytest.fixture(scope="module")
def records(corpus: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in corpus.read_bytes().splitlines()]


def test_holds_about_two_megabytes_of_text(records: list[dict[str, str]]) -> None:
    size = sum(len(record["text"].encode()) for record in records)
    # Some systems package IDLE and Tk apart from the library: a tenth of the text.
    complete = all(importlib.util.find_spec(name) for name in ("idlelib", "tkinter"))
    assert size >= (2_000_000 if complete else 1_700_000)


def test_same_python_gives_same_bytes_and_nothing_is_imported(corpus: Path, tmp_path: Path) -> None:
    # `this` prints a poem when it is imported, and nothing else in the suite wants it.
    sys.modules.pop("this", None)
    assert collect(tmp_path, progress=False).read_bytes() == corpus.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [corpus.name]
    assert "this" not in sys.modules


def test_every_record_is_clean_text_with_a_name_of_its_own(records: list[dict[str, str]]) -> None:
    assert all(set(record) == {"text", "source"} for record in records)
    names = [record["source"] for record in records]
    assert len(set(names)) > 0.99 * len(names)  # a class defined twice in one file keeps its name
    for record in records:
        text = record["text"]
        assert text.strip() and text == text.strip("\n"), record["source"]
        assert not re.search(r"[ \t]+$|\n{3,}|^[-=*~]{3,}$", text, re.MULTILINE), record["source"]


def test_holds_docstrings_comments_and_topics(records: list[dict[str, str]]) -> None:
    by_name = {record["source"]: record["text"] for record in records}
    ordered_dict = by_name["collections.OrderedDict"]
    assert ordered_dict.startswith("Dictionary that remembers insertion order")
    assert "Move an existing element to the end" in ordered_dict  # a method's docstring, with its class
    assert "Serialize ``obj`` to a JSON formatted ``str``." in by_name["json"]
    assert by_name["topic:if"].startswith('The "if" statement')
    assert any(name.endswith("#comments") for name in by_name)


def _library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes]) -> Path:
    library = tmp_path / "lib"
    for name, content in files.items():
        path = library / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    library.mkdir(exist_ok=True)
    monkeypatch.setattr("pipeline.default_corpus.sysconfig.get_path", lambda name: str(library))
    return library


def test_documents_of_a_small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pasted = "This long paragraph is pasted into every class, and a model would learn it by heart."
    code = f'''"""Module."""
# A comment of three lines, long enough to be kept, which explains what the
# code below it does and why it is written so. It starts with a capital and
# it ends with a full stop.
def f():
    """
    Function
    -----
      indented
    """
class A:
    """{pasted}

    Of A."""
    def m(self):
        """Method \\ud800."""
class B:
    """{pasted}

    Of B."""
'''
    _library(tmp_path, monkeypatch, {"m/__init__.py": code, "test/t.py": '"""No."""', "bad.py": "def (:"})
    lines = collect(tmp_path / "raw", progress=False).read_bytes().splitlines()
    documents = {record["source"]: record["text"] for record in map(json.loads, lines)}
    assert documents["m"] == "Module.\n\nFunction\n  indented"
    assert documents["m.A"] == f"{pasted}\n\nOf A.\n\nMethod ?."
    assert documents["m.B"] == "Of B."
    assert documents["m#comments"].startswith("A comment of three lines")
    assert len(documents) == 4


def test_a_python_without_sources_is_said_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = _library(tmp_path, monkeypatch, {})
    with pytest.raises(UserError, match="--input") as caught:
        collect(tmp_path / "raw", progress=False)
    assert str(library) in str(caught.value)
    assert not (tmp_path / "raw").exists()
