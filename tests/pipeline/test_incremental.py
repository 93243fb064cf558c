"""Adding input costs what was added; asking for what is done costs next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig
from pipeline.executors.base import Ledger
from pipeline.process import process

from .conftest import ROOT, InProcess, Run, arguments, digests, documents

HEAVY = (
    "pipeline.run", "pipeline.mapping.map_task", "pipeline.publishing.publish", "pyarrow", "fsspec",
    "gigatoken", "ray", "torch", "huggingface_hub", "ftfy", "matplotlib", "jinja2", "s3fs",
)  # fmt: skip
"""What is needed only where there is work to do."""


@pytest.fixture
def twenty(small: PipelineConfig, tmp_path: Path) -> PipelineConfig:
    """Twenty files of three tasks each."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(20):
        write(raw / f"{number:02d}.jsonl", number)
    return small.model_copy(update={"input": [str(raw)]})


def write(path: Path, seed: int) -> None:
    """A file of 2,5 blocks of 9,000 bytes."""
    lines: list[str] = []
    for text in documents(1000, seed):
        lines.append(json.dumps({"text": text}) + "\n")
        if sum(map(len, lines)) > 22_500:
            break
    path.write_text("".join(lines))


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tasks that were mapped, in order."""
    taken: list[Any] = []
    take = Ledger.take

    def counted(self: Ledger) -> Any:
        task = take(self)
        taken.extend([task] if task else [])
        return task

    monkeypatch.setattr(Ledger, "take", counted)
    monkeypatch.setattr("pipeline.run.make_executor", lambda config, setup, tasks: InProcess(setup))
    return taken


@pytest.mark.parametrize("name", ["20.jsonl", "00a.jsonl"])
def test_one_file_added_to_twenty(twenty: PipelineConfig, mapped: list[Any], tmp_path: Path, name: str) -> None:
    """At the end, or in between, which renumbers the files behind it."""
    process(twenty)
    all_tasks = len(mapped)
    assert all_tasks == 20 * 3
    mapped.clear()
    write(tmp_path / "raw" / name, 99)
    result = process(twenty, resume=True)
    assert len(mapped) == all_tasks / 20 and {Path(task.path).name for task in mapped} == {name}
    assert result.manifest is not None and len(result.manifest.inputs) == 21
    fresh = twenty.model_copy(update={"output": tmp_path / "fresh" / "x"})
    process(fresh)
    assert digests(twenty.output) == digests(fresh.output)


def test_one_file_of_twenty_changed_or_removed(twenty: PipelineConfig, mapped: list[Any], tmp_path: Path) -> None:
    process(twenty)
    mapped.clear()
    write(tmp_path / "raw" / "07.jsonl", 123)
    assert process(twenty, resume=True).changed
    assert {Path(task.path).name for task in mapped} == {"07.jsonl"}
    mapped.clear()
    (tmp_path / "raw" / "03.jsonl").unlink()
    result = process(twenty, resume=True)
    assert result.manifest is not None and len(result.manifest.inputs) == 19 and not mapped


def test_a_renamed_file_is_published_anew_but_not_mapped(
    twenty: PipelineConfig, mapped: list[Any], tmp_path: Path
) -> None:
    process(twenty)
    mapped.clear()
    (tmp_path / "raw" / "07.jsonl").rename(tmp_path / "raw" / "7b.jsonl")
    result = process(twenty, resume=True)
    assert result.changed and not mapped
    assert "7b.jsonl" in [entry.name for entry in result.manifest.inputs]  # type: ignore[union-attr]


def test_a_finished_dataset_answers_at_once(twenty: PipelineConfig, run: Run, tmp_path: Path) -> None:
    """In CPU time, start of Python included; and the parts need not even be there any more."""
    assert run(*arguments(twenty)).returncode == 0
    before = digests(twenty.output)
    code = (
        "import sys, time\nfrom pipeline.process import process, PipelineConfig\nimport json\n"
        "config = PipelineConfig(**json.loads(sys.argv[1]))\n"
        "assert not process(config, resume=True).changed\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], time.process_time())"
    )
    given = json.dumps(twenty.model_dump(mode="json", exclude_defaults=True))
    done = subprocess.run(
        [sys.executable, "-c", code, given], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded, _, seconds = done.stdout.strip().rpartition(" ")
    assert loaded == "[]", "loaded though there is nothing to do"
    assert float(seconds) < 2
    started = time.monotonic()
    again = run(*arguments(twenty), "--resume")
    assert "nothing to do" in again.stdout and again.returncode == 0
    assert time.monotonic() - started < 10  # on a machine that does other things too
    assert digests(twenty.output) == before
