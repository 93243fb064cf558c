"""The cache command: what it lists is what is there, and it removes nothing that is used or not asked for."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline import cache
from pipeline.config import PipelineConfig
from pipeline.place import lock_path
from pipeline.process import process

from .conftest import Run, arguments, digests


@pytest.fixture
def there(small: PipelineConfig, corpus: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """In the current directory: a finished dataset x, half-done work for y, and a configuration like that of x."""
    process(small)
    other = small.model_copy(
        update={"output": small.output.parent / "y", "min_chars": 7, "input": [f"{corpus}/a.jsonl"]}
    )
    assert run(*arguments(other), failpoint="journal.after_append:2").returncode < 0
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(
        f"pipeline: {{output: dataset/x, tokenizer: {small.tokenizer}, block_bytes: 9000, shard_tokens: 7000,"
        " val_fraction: 0.1, test_fraction: 0.05, max_bad_fraction: 0.2}\n"
    )
    return tmp_path / "dataset" / ".work"


def areas(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_info_tells_state_and_differing_settings(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache.main(["info"]) == 0
    told = capsys.readouterr().out
    x = next(block for block in told.split("\n") if " x: " in block)
    assert "finished" in x and "the dataset there now was made from it" in told
    assert " y: half done, 1 tasks" in told or " y: half done, 2 tasks" in told
    assert "min_chars 7 (configuration: 1)" in told and told.count("(configuration:") == 1


def test_usage_adds_up(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache.main(["usage"]) == 0
    told = capsys.readouterr().out
    size = sum(path.stat().st_size for path in there.rglob("*") if path.is_file() and path.suffix != ".lock")
    assert f"2 work areas, {size / 1000:.1f} kB" in told
    assert "hub  " in told
    Path("hub").mkdir()
    Path("hub/model.parquet").write_bytes(b"x" * 2500)
    Path("config.yaml").write_text(
        Path("config.yaml").read_text().replace("pipeline: {", "pipeline: {hub_cache: hub, ")
    )
    assert cache.main(["usage"]) == 0
    assert "hub  hub: 2.5 kB" in capsys.readouterr().out


def test_clear_asks_and_removes_only_what_was_named(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # not a terminal: nobody can be asked
    with pytest.raises(UserError, match="add --yes"):
        cache.main(["clear"])
    assert len(areas(there)) == 2
    dataset = digests(there.parent / "x")
    for name in ("y", str(there.parent / "x")):
        assert cache.main(["clear", "--output", name, "--yes"]) == 0
        assert name.rpartition("/")[2] in capsys.readouterr().out
    assert areas(there) == [] and digests(there.parent / "x") == dataset
    assert cache.main(["clear", "--yes"]) == 0
    with pytest.raises(UserError, match="no work of a dataset 'z'"):
        cache.main(["clear", "--output", "z", "--yes"])


def test_only_old_work_is_cleared(there: Path) -> None:
    old, young = sorted(there / name for name in areas(there))
    then = time.time() - 8 * 86400
    for path in [*old.iterdir(), old]:
        os.utime(path, (then, then))
    assert cache.main(["clear", "--older_than", "7d", "--yes"]) == 0
    assert areas(there) == [young.name]


def test_work_in_use_is_left_alone(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = there.parent / "x"
    with DirectoryLock(lock_path(output), "a test"):
        assert cache.main(["info"]) == 0
        assert " x: in use" in capsys.readouterr().out
        assert cache.main(["clear", "--yes"]) == 1
    told = capsys.readouterr()
    assert f"in use by process {os.getpid()}" in told.err and "removed 1 work area" in told.out
    assert len(areas(there)) == 1


def test_cleared_work_is_made_again_with_the_same_bytes(there: Path, small: PipelineConfig) -> None:
    before = digests(small.output)
    assert cache.main(["clear", "--yes"]) == 0
    process(small, resume=True)
    assert digests(small.output) == before


def test_damaged_areas_are_listed_and_cleared(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (there / areas(there)[0] / "work.json").write_text("{")
    assert cache.main(["info"]) == 0
    assert "unknown dataset: damaged" in capsys.readouterr().out
    assert cache.main(["clear", "--yes"]) == 0
    assert areas(there) == []


def test_the_command_as_typed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cache"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "dataset/.work: 0 work areas, 0 bytes\n")
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cache", "clean"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 2 and "'info', 'usage' or 'clear'" in result.stderr
