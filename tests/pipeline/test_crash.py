"""Killed anywhere and resumed, the dataset is byte for byte that of an uninterrupted run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundation import atomic
from pipeline.config import PipelineConfig
from pipeline.process import process
from tests.quick import quick

from .conftest import ROOT, Run, arguments, digests

FAILPOINTS = [
    "tokenizer.after_saving", "map.start:2", "map.mid_part:3", "map.mid_part:5", "map.before_rename:3",
    "map.after_rename:3", "journal.before_append:1", "journal.after_append:1", "journal.before_append:6",
    "journal.after_append:6", "dedup.mid_write:3",
    "dedup.mid_search:2", "publish.before_shards", "shard.before_rename:1", "shard.after_rename:2",
    "publish.mid_split:3", "publish.before_tokenizer", "publish.before_manifest", "publish.after_manifest",
    "publish.before_stats", "publish.before_report", "publish.before_checksums",
]  # fmt: skip
QUICK = (
    "tokenizer.after_saving", "map.mid_part:3", "journal.after_append:6", "dedup.mid_write:3", "shard.before_rename:1",
    "publish.mid_split:3", "publish.before_manifest",
)  # fmt: skip
"""One of each stage."""
PUBLISHED = ("publish.after_manifest", "publish.before_stats", "publish.before_report", "publish.before_checksums")
ELSEWHERE = {
    "share.": "pipeline/test_remote.py",
    "upload.": "pipeline/test_remote.py",
    "plan.": "shards/test_packing_plan.py",
}
"""Failpoints that only remote work and output reach: see test_remote.py."""


@pytest.fixture(scope="module")
def near_corpus(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dirty corpus, and a file of documents that differ from its own in one word."""
    directory = tmp_path_factory.mktemp("near") / "raw"
    shutil.copytree(corpus, directory)
    with (directory / "e.jsonl").open("w") as out:
        for line in (directory / "a.jsonl").read_bytes().splitlines()[:90:3]:
            words = json.loads(line)["text"].split(" ")
            words[len(words) // 2] = "edited"
            out.write(json.dumps({"text": " ".join(words)}) + "\n")
    return directory


@pytest.fixture
def small(small: PipelineConfig, near_corpus: Path) -> PipelineConfig:
    """The small configuration over this corpus, with near duplicates looked for."""
    return small.model_copy(update={"input": [str(near_corpus)], "near_dedup": True})


@pytest.fixture(scope="module")
def expected(near_corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an uninterrupted run with one worker."""
    output = tmp_path_factory.mktemp("whole") / "dataset" / "x"
    config = PipelineConfig(
        input=[str(near_corpus)], output=output, tokenizer=tokenizer, workers=1, near_dedup=True,
        block_bytes=9000, shard_tokens=7000, val_fraction=0.1, test_fraction=0.05, max_bad_fraction=0.2,
    )  # fmt: skip
    process(config)
    found = digests(output)
    assert sum(name.endswith(".bin") for name in found) >= 4
    duplicates = json.loads((output / "stats.json").read_text())["accounts"]["duplicate"]["reasons"]
    assert duplicates["near"]["records"] > 3, "the near duplicates are part of the proof"
    return found


def test_every_failpoint_of_the_code_is_tried() -> None:
    """A new one is noticed here."""
    names: set[str] = set()
    for package in ("foundation", "pipeline", "shards", "tokenization"):
        for path in (ROOT / package).rglob("*.py"):
            names.update(re.findall(r'\bfailpoint\("([^"]+)"', path.read_text()))
    here = {name.partition(":")[0] for name in FAILPOINTS}
    others = {name: file for name in names for prefix, file in ELSEWHERE.items() if name.startswith(prefix)}
    assert names - set(others) == here and set(others.values()) == set(ELSEWHERE.values())
    assert not [name for name, file in others.items() if name not in (ROOT / "tests" / file).read_text()]


@pytest.mark.parametrize("workers", [2, 3])
def test_same_bytes_for_any_number_of_workers(small: PipelineConfig, expected: dict[str, str], workers: int) -> None:
    process(small.model_copy(update={"workers": workers}))
    assert digests(small.output) == expected


@pytest.mark.parametrize("failpoint", quick(FAILPOINTS, QUICK))
def test_failpoints(small: PipelineConfig, expected: dict[str, str], run: Run, failpoint: str) -> None:
    options = arguments(small)
    killed = run(*options, failpoint=failpoint)
    in_worker = failpoint.startswith("map.")
    # A worker's death is survived by the parent: it tries three times, and every new worker dies at the same place. In
    # its third task, that is hardly ever the same task.
    survived = in_worker and killed.returncode == 0
    assert survived or killed.returncode == (2 if in_worker else -signal.SIGKILL), killed.stderr
    assert not survived or failpoint.endswith(":3")
    assert (small.output / "manifest.json").exists() == (survived or failpoint in PUBLISHED)
    finished = run(*options, "--resume")
    assert finished.returncode == 0, finished.stderr
    assert digests(small.output) == expected


def test_failpoint_while_overwriting_leaves_old_or_new(
    small: PipelineConfig, expected: dict[str, str], run: Run, tmp_path: Path
) -> None:
    other = small.model_copy(update={"seed": 77})
    process(other)
    old = digests(small.output)
    assert run(*arguments(small), "--overwrite", failpoint="publish.before_manifest").returncode == -signal.SIGKILL
    during = digests(small.output)
    assert all(during[name] == value for name, value in old.items()), "the old dataset must still be whole"
    assert run(*arguments(small), "--overwrite", failpoint="publish.after_manifest").returncode == -signal.SIGKILL
    assert digests(small.output)["manifest.json"] == expected["manifest.json"]
    finished = run(*arguments(small), "--resume")
    assert finished.returncode == 0, finished.stderr
    assert digests(small.output) == expected


def assert_survives_kills(small: PipelineConfig, expected: dict[str, str], kills: int, seed: int, cwd: Path) -> None:
    """SIGKILL `kills` times at random moments: all processes, the parent alone, or one worker (which is then replaced).
    Starts over whenever a run had finished."""
    chance = random.Random(seed)
    options = [sys.executable, "-m", "pipeline.process", *arguments(small), "--resume"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            options, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    started = time.monotonic()
    assert start().wait(timeout=120) == 0
    whole = time.monotonic() - started
    done, told = 0, b""
    while done < kills:
        if digests(small.output) == expected:  # it had finished: begin again from nothing
            shutil.rmtree(small.output.parent)
            small.output.parent.mkdir()
        running = start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=chance.uniform(0.1, 1.0) * whole)
        if running.poll() is None:
            done += kill(running.pid, chance)
        told = running.communicate(timeout=120)[1]
        assert running.returncode in (0, -signal.SIGKILL), told.decode()
    last = start()
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors.decode()
    assert digests(small.output) == expected


def kill(parent: int, chance: random.Random) -> int:
    """SIGKILL the process group, its leader or one of its workers; how many were found to kill."""
    kind = chance.choice(["all", "parent", "worker"])
    if kind == "all":
        os.killpg(parent, signal.SIGKILL)
        return 1
    listed = [str(parent)]
    if kind == "worker":  # or the server they are forked from
        listed = children(str(parent))
        listed += [pid for server in listed for pid in children(server)]
    workers = [pid for pid in listed if b"resource_tracker" not in command_line(pid)]
    if not workers:
        return 0
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.kill(int(chance.choice(workers)), signal.SIGKILL)
        return 1
    return 0


def command_line(pid: str) -> bytes:
    """How a process was started; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def children(pid: str) -> list[str]:
    """The processes that one has started and that live."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def test_what_a_kill_left_beside_a_report_of_documents_goes(
    small: PipelineConfig, expected: dict[str, str], run: Run
) -> None:
    assert run(*arguments(small), failpoint="publish.before_checksums").returncode < 0
    (small.output / "duplicates" / f"{atomic.TEMPORARY_PREFIX}clusters.jsonl-1-abcd0123").write_text("half a line")
    assert run(*arguments(small), "--resume").returncode == 0
    assert digests(small.output) == expected


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in Linux's /proc")
def test_ten_kills(small: PipelineConfig, expected: dict[str, str], tmp_path: Path) -> None:
    assert_survives_kills(small.model_copy(update={"workers": 2}), expected, 10, seed=5, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in Linux's /proc")
def test_hundred_kills(small: PipelineConfig, expected: dict[str, str], tmp_path: Path) -> None:
    assert_survives_kills(small.model_copy(update={"workers": 2}), expected, 100, seed=int(time.time()), cwd=tmp_path)


@pytest.mark.slow
def test_ray_slices_and_local_processes_agree(small: PipelineConfig, expected: dict[str, str]) -> None:
    """One after the other into the same work area: a slice by Ray, a slice by two processes, the rest by one."""
    pytest.importorskip("ray", reason="Ray is an optional extra")
    process(small.model_copy(update={"task_slice": "1/3", "executor": "ray", "workers": 2}))
    process(small.model_copy(update={"task_slice": "3/3", "workers": 2}))
    process(small, resume=True)
    assert digests(small.output) == expected


def test_lost_workers_are_replaced(small: PipelineConfig, expected: dict[str, str], run: Run) -> None:
    """The worker dies at its fourth task, and so do those after it; the tasks are tried again and the run succeeds. One
    worker at a time: with two it is chance which tasks are lost, and how often."""
    finished = run(*arguments(small.model_copy(update={"workers": 1})), failpoint="map.start:4")
    assert finished.returncode == 0, finished.stderr
    assert "trying again" in finished.stdout + finished.stderr
    assert digests(small.output) == expected


def test_orphan_part_of_a_lost_parent_is_not_trusted(small: PipelineConfig, expected: dict[str, str], run: Run) -> None:
    """Between a part's rename and its record a crash leaves a part nobody vouches for; it is made again."""
    assert run(*arguments(small), failpoint="journal.before_append:4").returncode == -signal.SIGKILL
    parts = next(small.output.parent.glob(".work/*/parts"))
    journal = (parts.parent / "journal.jsonl").read_text()
    orphans = [part for part in parts.iterdir() if part.name not in journal and not part.name.startswith(".")]
    assert orphans
    (orphans[0] / "tokens.bin").write_bytes(b"\0\0")
    assert run(*arguments(small), "--resume").returncode == 0
    assert digests(small.output) == expected
