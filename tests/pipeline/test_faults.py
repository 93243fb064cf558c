"""Faults under their real conditions: full and read-only file systems, other users, other processes, flipped bits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.process import process

from .conftest import ROOT, Run, arguments, digests, documents, lock_of


@pytest.fixture
def expected(small: PipelineConfig) -> dict[str, str]:
    """The files of an undisturbed run, made elsewhere."""
    whole = small.model_copy(update={"output": small.output.parent.parent / "whole" / "x"})
    process(whole)
    return digests(whole.output)


def mount(*options: str) -> None:
    """Mount, or skip the test saying why not."""
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty tmpfs of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k,mode=777", "none", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills(small: PipelineConfig, expected: dict[str, str], run: Run, tiny_disk: Path) -> None:
    """The disk is enlarged after each failure until the dataset fits: each failure is one message and leaves no
    temporaries, and in the end the bytes are those of a run with room."""
    config = small.model_copy(update={"output": tiny_disk / "dataset" / "x"})
    size, messages = 64, []
    while True:
        done = run(*arguments(config), "--resume")
        if done.returncode == 0:
            break
        last = done.stderr.strip().splitlines()[-1]
        messages.append(last)
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr and "Logging error" not in done.stderr
        assert str(tiny_disk) in last and ("disk is full" in last or "MB free" in last), done.stderr
        assert not list(tiny_disk.rglob(".tmp-*")) and not (config.output / "manifest.json").exists()
        size = size * 3 // 2
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(tiny_disk)], check=True)
    assert len(messages) >= 3, "the disk was full in several stages"
    assert digests(config.output) == expected


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A read-only bind mount."""
    place = tmp_path / "frozen"
    place.mkdir()
    mount("--bind", str(place), str(place))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_read_only_file_system_is_named_before_work_starts(small: PipelineConfig, run: Run, read_only: Path) -> None:
    for config in (
        small.model_copy(update={"output": read_only / "dataset" / "x"}),
        small.model_copy(update={"work_directory": str(read_only / "work")}),
    ):
        refused = run(*arguments(config))
        assert refused.returncode == 2 and str(read_only) in refused.stderr and "read-only" in refused.stderr
        assert "Traceback" not in refused.stderr and "map:" not in refused.stderr
        assert not small.output.exists()


AS_NOBODY = """
import os, sys
import pipeline.run, pipeline.summary, pipeline.report  # this user may not be able to read the installation
from foundation.cli import run
from pipeline.process import main
os.setgroups([]); os.setgid(65534); os.setuid(65534)
run(main)
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("what", ["input", "output", "work", "tokenizer", "dataset"])
def test_missing_permission_is_named_before_work_starts(small: PipelineConfig, tmp_path: Path, what: str) -> None:
    """Run as the user nobody, who really is refused (root never is)."""
    for path in (tmp_path, *tmp_path.parents):
        if path.name.startswith(("test_", "popen-", "pytest-")):  # pytest makes them for their owner alone
            path.chmod(0o755)
    raw = tmp_path / "mine.jsonl"
    raw.write_text('{"text": "a secret diary"}\n' * 50)
    open_place = tmp_path / "open"
    open_place.mkdir()
    open_place.chmod(0o777)
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(str(small.tokenizer), tokenizer)
    tokenizer.chmod(0o755)
    config = small.model_copy(
        update={"input": [str(raw)], "output": open_place / "dataset" / "x", "tokenizer": str(tokenizer)}
    )
    refusing = {"input": raw, "tokenizer": tokenizer / "tokenizer.json"}.get(what, tmp_path / "closed")
    extra: list[str] = []
    if what in ("input", "tokenizer"):
        refusing.chmod(0o600)
    elif what == "dataset":
        process(config)
        refusing = config.output
        config.output.parent.chmod(0o777)
        (config.output.parent / ".work").chmod(0o777)
        next(config.output.parent.glob(".work/*.lock")).chmod(0o666)
        extra = ["--overwrite"]
    else:
        refusing.mkdir(mode=0o755)
        changed = {"output": refusing / "sets" / "x"} if what == "output" else {"work_directory": str(refusing / "w")}
        config = config.model_copy(update=changed)
    refused = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *arguments(config), *extra],
        cwd=open_place, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode in (1, 2), refused.stderr
    assert str(refusing) in refused.stderr and "permission" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr and "map:" not in refused.stderr


@pytest.fixture
def large(small: PipelineConfig, tmp_path: Path) -> PipelineConfig:
    """A configuration that takes some seconds: the reference engine over a few megabytes."""
    import json

    texts = documents(4000, 11)
    raw = tmp_path / "large.jsonl"
    with raw.open("w") as out:
        for number in range(9000):
            out.write(json.dumps({"text": f"{number} {texts[number % len(texts)]}"}) + "\n")
    return small.model_copy(update={"input": [str(raw)], "tokenizer_engine": "reference", "block_bytes": 60_000})


def start(config: PipelineConfig, cwd: Path, *options: str) -> subprocess.Popen[str]:
    """The command in a session of its own, once it has committed its first part."""
    running = subprocess.Popen(
        [sys.executable, "-m", "pipeline.process", *arguments(config), *options], cwd=cwd, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not any(path.stat().st_size for path in config.output.parent.glob(".work/*/journal.jsonl")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    return running


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 75),
        pytest.param([signal.SIGINT], 130, marks=pytest.mark.slow),
        ([signal.SIGINT, signal.SIGINT], 130),
        pytest.param([signal.SIGKILL], -9, marks=pytest.mark.slow),
    ],
)
def test_signals(large: PipelineConfig, tmp_path: Path, run: Run, signals: list[signal.Signals], code: int) -> None:
    """It ends within seconds with its workers, keeps what is done, says how to go on, and then goes on."""
    running = start(large, tmp_path)
    workers = children(running.pid)
    for number in signals:
        running.send_signal(number)
    sent = time.monotonic()
    told = running.communicate(timeout=30)[1]
    assert time.monotonic() - sent < 10
    assert running.returncode == code, told
    assert "Traceback" not in told
    if code != -9:
        assert "--resume" in told
    if len(signals) == 1 and code != -9:
        assert not list(large.output.parent.rglob(".tmp-*"))
    time.sleep(0.2)
    assert not [pid for pid in workers if Path(f"/proc/{pid}/cmdline").exists() and _runs(pid)], "no orphans"
    done = len(next(large.output.parent.glob(".work/*/journal.jsonl")).read_text().splitlines())
    resumed = run(*arguments(large), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert done >= 1 and "resuming: " in resumed.stdout + resumed.stderr


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(
    large: PipelineConfig, tmp_path: Path, run: Run
) -> None:
    first = start(large, tmp_path)
    os.killpg(first.pid, signal.SIGSTOP)
    refused = run(*arguments(large), "--resume")
    assert refused.returncode == 2 and f"in use by process {first.pid} " in refused.stderr
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert f"process {first.pid} " in lock_of(large.output).read_text(), "the dead owner's name is still there"
    assert run(*arguments(large), "--resume").returncode == 0


@pytest.mark.parametrize("name", ["tokens.bin", "documents.npy", "summary.json", "quarantine.jsonl"])
def test_a_flipped_bit_in_a_part_is_noticed(small: PipelineConfig, expected: dict[str, str], name: str) -> None:
    """The work is a cache: what is damaged in it is made again, and nothing else."""
    process(small.model_copy(update={"task_slice": "1/1"}))
    parts = {path: path.stat().st_ino for path in small.output.parent.glob(".work/*/parts/*")}
    victim = next(path for path in sorted(parts) if (path / name).exists() and (path / name).stat().st_size)
    data = bytearray((victim / name).read_bytes())
    data[len(data) * 2 // 3] ^= 1
    (victim / name).write_bytes(data)
    process(small, resume=True)
    again = {path: path.stat().st_ino for path in small.output.parent.glob(".work/*/parts/*")}
    assert [path for path in parts if again[path] != parts[path]] == [victim]
    assert digests(small.output) == expected


def test_a_worker_out_of_memory(small: PipelineConfig, expected: dict[str, str]) -> None:
    """One document's task needs more memory than its worker may have: it is tried three times and reported with its
    range, the others go on, nothing is published; with enough memory the rest is done."""
    with pytest.raises(UserError, match=r"nothing was published(.|\n)*\[\d+, \d+\): (.|\n)*MemoryError") as refused:
        process(small, engine_factory=f"{__name__}:build_hungry")
    failed = str(refused.value).count("MemoryError")
    assert not (small.output / "manifest.json").exists()
    parts = len(list(small.output.parent.glob(".work/*/parts/*")))
    assert failed >= 1 and parts > failed
    process(small, resume=True)
    assert digests(small.output) == expected


def build_hungry(tokenizer: Any) -> Any:
    """An engine that wants a gigabyte for some texts, in a process that may have 200 MB more than it has."""
    import resource

    from tokenization.engines.reference import ReferenceEngine

    class Hungry(ReferenceEngine):
        name = "hungry"

        def encode_batch(self, texts: list[bytes], *rest: Any, **named: Any) -> Any:
            if any("世界7".encode() in text for text in texts) and len(texts) > 20:
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                before = resource.getrlimit(resource.RLIMIT_AS)
                resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, before[1]))
                try:
                    bytearray(2**30)
                finally:
                    resource.setrlimit(resource.RLIMIT_AS, before)
            return super().encode_batch(texts, *rest, **named)

    return Hungry(tokenizer)


def test_an_input_that_vanishes(small: PipelineConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pipeline import plan

    raw = tmp_path / "going.jsonl"
    raw.write_text('{"text": "a line"}\n' * 100)

    def plan_then_remove(*values: Any) -> Any:
        tasks = plan.make_plan(*values)
        raw.unlink()
        return tasks

    monkeypatch.setattr("pipeline.process.make_plan", plan_then_remove)
    with pytest.raises((UserError, OSError), match=r"going\.jsonl"):
        process(small.model_copy(update={"input": [str(raw)]}))
    assert not (small.output / "manifest.json").exists()
