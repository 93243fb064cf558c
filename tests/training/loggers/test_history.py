"""history.jsonl: each start, what happened, how each stretch ended; a resume never cuts it back."""

from __future__ import annotations

import json
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from training.loggers.run_history import RunHistory


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_tells_what_it_is_and_how_it_ended(command: Any) -> None:
    assert command.call().returncode == 0
    found = events(command.directory / "out" / "history.jsonl")
    assert [event["event"] for event in found] == ["started", "saved", "saved", "saved", "finished"]
    started, end = found[0], found[-1]
    assert started["step"] == 0 and started["total_steps"] == 12 and started["ranks"] == 1
    assert started["vocab_size"] == 280 and started["global_batch"] == 3 and started["dtype"] == "float32"
    assert started["config"]["training"]["max_steps"] == 12 and "torch" in started["versions"]
    assert started["command"].startswith("python") and started["machine"]
    assert end["step"] == 12 and {"first step", "steps", "validation"} <= end["seconds"].keys()
    assert all(first["time"] <= later["time"] for first, later in pairwise(found))


def test_a_resume_adds_and_cuts_nothing(command: Any) -> None:
    stopped = command.start("--max_steps", "100k", "--eval_interval", "100k")
    metrics = command.directory / "out" / "metrics.jsonl"
    while stopped.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate(timeout=60)
    before = events(command.directory / "out" / "history.jsonl")
    assert before[-1]["event"] == "stopped" and before[-1]["reason"] == "SIGTERM"
    step = before[-1]["step"]
    assert command.call("--resume", "--max_steps", str(step + 2), "--eval_interval", "100k").returncode == 0
    after = events(command.directory / "out" / "history.jsonl")
    assert after[: len(before)] == before
    assert [event["event"] for event in after[len(before) :]] == ["started", "saved", "finished"]
    assert after[len(before)]["step"] == step


def test_an_error_is_the_end_of_a_stretch(tmp_path: Path) -> None:
    history = RunHistory(tmp_path / "history.jsonl", {"step": 3})
    history.begin()
    with pytest.raises(OSError, match="no space"):
        try:
            raise OSError("no space")
        finally:
            history.close()
    assert events(tmp_path / "history.jsonl")[-1] | {"time": 0} == {
        "time": 0, "event": "failed", "reason": "OSError: no space",
    }  # fmt: skip


@pytest.mark.parametrize("left", ["", '{"time": 1.0, "ev', '{"time": 1.0}\n{"time": 2.0}'])
def test_half_a_line_costs_no_other(tmp_path: Path, left: str) -> None:
    """What a full disk left of an event goes; the next start stands behind the last whole line."""
    path = tmp_path / "history.jsonl"
    path.write_text(left)
    whole = left.count("\n")
    history = RunHistory(path, {"step": 3})
    history.begin()
    history.note({"event": "finished"})
    found = events(path)
    assert [event.get("event") for event in found] == [None] * whole + ["started", "finished"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        RunHistory(path, {}).begin()
    assert error.value.filename == str(path)


def test_a_run_that_diverges_says_so(command: Any) -> None:
    done = command.call(
        "--learning_rate", "1e37", "--weight_decay", "0", "--grad_clip", "null", "--max_bad_steps", "2",
        "--warmup_steps", "0",
    )  # fmt: skip
    assert done.returncode == 1
    assert events(command.directory / "out" / "history.jsonl")[-1]["event"] == "diverged"


def test_a_run_that_stops_early_says_so(command: Any) -> None:
    early = ["--early_stopping", "true", "--patience", "1", "--min_delta", "100", "--eval_interval", "2"]
    assert command.call(*early).returncode == 0
    end = events(command.directory / "out" / "history.jsonl")[-1]
    assert (end["event"], end["step"], end["reason"]) == ("finished", 4, "early stopping")
