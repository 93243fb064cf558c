"""The cache command: what it lists is what is there, and it removes nothing that is used or not asked for."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline import cache
from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.sources.staging import stage
from pipeline.workspace.place import cache_directory

from .conftest import ROOT, InProcess, arguments, digests, lock_of


@pytest.fixture(scope="module")
def built(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset x, half-done work for y, and a configuration like that of x; read only."""
    place = tmp_path_factory.mktemp("built")
    config = PipelineConfig(
        input=[f"{corpus}/a.jsonl"], output=place / "dataset" / "x", tokenizer=tokenizer, workers=1, block_bytes=9000
    )
    process(config)
    other = config.model_copy(update={"output": place / "dataset" / "y", "min_chars": 7})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MATECONV_FAILPOINT": "journal.after_append:2"}
    options = [sys.executable, "-m", "pipeline.process", *arguments(other)]
    killed = subprocess.run(options, cwd=place, env=environment, capture_output=True, check=False)
    assert killed.returncode < 0
    (place / "config.yaml").write_text(f"pipeline: {{output: dataset/x, tokenizer: {tokenizer}, block_bytes: 9000}}\n")
    return place


@pytest.fixture
def there(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work areas of a copy of that, which is the current directory."""
    shutil.copytree(built, tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    return tmp_path / "there" / "dataset" / ".work"


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
    with DirectoryLock(lock_of(output), "a test"):
        assert cache.main(["info"]) == 0
        assert " x: in use" in capsys.readouterr().out
        assert cache.main(["clear", "--yes"]) == 1
    told = capsys.readouterr()
    assert f"in use by process {os.getpid()}" in told.err and "removed 1 work area" in told.out
    assert len(areas(there)) == 1


def test_cleared_work_is_made_again_with_the_same_bytes(there: Path, corpus: Path, tokenizer: Path) -> None:
    before = digests(there.parent / "x")
    assert cache.main(["clear", "--yes"]) == 0
    process(
        PipelineConfig(
            input=[f"{corpus}/a.jsonl"], output=there.parent / "x", tokenizer=tokenizer, workers=1, block_bytes=9000
        ),
        resume=True,
    )
    assert digests(there.parent / "x") == before


def test_damaged_areas_are_listed_and_cleared(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (there / areas(there)[0] / "work.json").write_text("{")
    assert cache.main(["info"]) == 0
    assert "unknown dataset: damaged" in capsys.readouterr().out
    assert cache.main(["clear", "--yes"]) == 0
    assert areas(there) == []


def test_an_area_that_may_be_anybodys_is_left_alone_while_anything_runs(there: Path) -> None:
    (there / areas(there)[0] / "work.json").unlink()
    (there / areas(there)[1] / "work.json").write_text("{")
    with DirectoryLock(there / "another.lock", "a test"):
        assert cache.main(["clear", "--yes"]) == 1
    assert len(areas(there)) == 2
    assert cache.main(["clear", "--yes"]) == 0
    assert areas(there) == []


def test_temporaries_are_left_alone_while_anything_runs(there: Path) -> None:
    """A repair works in one, under the lock of its own dataset; a process of another machine is known by that alone."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    for number in (os.getpid(), done.pid):
        (there / f".tmp-repair-z-{number}-0123abcd").mkdir()
    with DirectoryLock(there / "z.lock", "repairing z"):
        assert cache.main(["clear", "--output", "x", "--yes"]) == 0
    assert len(areas(there)) == 3
    assert cache.main(["clear", "--output", "y", "--yes"]) == 0
    assert areas(there) == [f".tmp-repair-z-{os.getpid()}-0123abcd"]


@pytest.mark.parametrize("at_a_url", [True, False])
def test_a_run_goes_on_while_others_clear(
    there: Path, corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_url: bool
) -> None:
    """A slice whose work lies at a URL, of which this machine holds what is being made; and one while its input is
    fetched, before its work is described."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pipeline.run.make_executor", lambda config, setup, count: InProcess(setup))
    work = f"file://{tmp_path}/work" if at_a_url else str(tmp_path / "work")
    Path("config.yaml").write_text(f'pipeline: {{work_directory: "{work}", output: dataset/z}}\n')
    pipe = pytest.importorskip("fsspec").filesystem("memory").pipe_file
    pipe("/in/a.jsonl", (corpus / "a.jsonl").read_bytes())
    config = PipelineConfig(
        input=["memory://in/a.jsonl"], output=Path("dataset/z"), tokenizer=tokenizer, block_bytes=9000,
        work_directory=work, task_slice="1/1",
    )  # fmt: skip
    answers: list[int] = []

    def clear(*_: object) -> None:
        if len(answers) < 3:
            answers.append(cache.main(["clear", "--yes"]))

    def staged(*given: Any) -> Any:
        inputs = stage(*given)
        clear()
        return inputs

    monkeypatch.setattr("pipeline.process.stage", staged)
    monkeypatch.setattr("pipeline.workspace.parts.failpoint", clear)
    process(config)
    assert answers == [1, 1, 1]
    assert process(config.model_copy(update={"task_slice": None}), resume=True).changed
    assert cache.main(["clear", "--yes"]) == 0


def test_work_at_a_url_is_told_where_it_is(
    there: Path, corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pipeline.run.make_executor", lambda config, setup, count: InProcess(setup))
    url = f"file://{tmp_path}/work"
    Path("config.yaml").write_text(f'pipeline: {{work_directory: "{url}", output: dataset/z}}\n')
    process(
        PipelineConfig(
            input=[f"{corpus}/a.jsonl"], output=Path("dataset/z"), tokenizer=tokenizer, work_directory=url,
            task_slice="1/1",
        )
    )  # fmt: skip
    assert cache.main(["info"]) == 0
    assert f" z: a cache of {url}/" in capsys.readouterr().out


def test_the_command_as_typed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cache"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "dataset/.work: 0 work areas, 0 bytes\n")
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cache", "clean"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 2 and "'info', 'usage' or 'clear'" in result.stderr


def test_a_user_without_a_home_directory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        cache_directory()
