"""docs/inference.md is true: its Python runs as it stands there, its table of presets is the presets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from generation.presets import PRESETS


def test_the_python_of_the_manual(
    repo_root: Path, run_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_directory.parent / "out").symlink_to(run_directory.parent)
    (run_directory.parent / "prompts.txt").write_text("the cat\nthe dog\n")
    monkeypatch.chdir(run_directory.parent)
    (code,) = re.findall(r"```python\n(.*?)```", (repo_root / "docs" / "inference.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/inference.md", "exec"), names)
    assert names["text"] == "".join(names["generator"].generate("Once upon a time", names["config"], stream=True))  # type: ignore[attr-defined]
    assert isinstance(names["texts"], list) and len(names["texts"]) == 2 and names["answer"]
    assert re.search(r"^1 \[Completion\(", capsys.readouterr().out, re.MULTILINE)


def test_the_table_of_presets(repo_root: Path) -> None:
    page = (repo_root / "docs" / "inference.md").read_text()
    header, rows = re.search(r"\| preset \|(.*)\|\n\|[-|]+\n((?:\|.*\n)+)", page).groups()  # type: ignore[union-attr]
    columns = [name.strip() for name in header.split("|")]
    told = {}
    for row in rows.strip().splitlines():
        name, *values = (cell.strip(" `") for cell in row.strip("|").split("|"))
        told[name] = dict(zip(columns, map(float, values), strict=True))
    assert told == {name: {key: float(values[key]) for key in columns} for name, values in PRESETS.items()}
    rest = [{key: value for key, value in values.items() if key not in columns} for values in PRESETS.values()]
    assert all(other == {"do_sample": True} | dict.fromkeys(other.keys() - {"do_sample"}, 0) for other in rest)
