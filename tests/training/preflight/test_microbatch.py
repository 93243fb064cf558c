"""`--batch_size auto`: the largest microbatch that fits, the same samples a step, the choice kept by a resume."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from training.batching.split import Split
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.free_memory import memory_limit, resident
from training.devices.strategy import Strategy
from training.preflight import microbatch
from training.preflight.memory import StepMemory
from training.saving import checkpoint
from training.step import Stepper
from training.tasks.causal import CausalLoss

AUTO = ("--batch_size", "auto", "--global_batch_size", "12", "--max_steps", "4", "--save_interval", "2")


def plant(monkeypatch: pytest.MonkeyPatch, per_sequence: float) -> None:
    """A machine with 1,000 bytes, on which a sequence takes `per_sequence` of them."""
    monkeypatch.setattr(microbatch, "memory_limit", lambda device, budget: budget or 1000)
    monkeypatch.setattr(microbatch, "step_memory", lambda *args: StepMemory(100, per_sequence))


def saved_microbatch(command: Any, out: str) -> Any:
    return checkpoint.load(command.directory / out / "ckpt.pth")["state"]["microbatch"]


def test_it_takes_the_largest_divisor_that_fits_and_records_it(command: Any, monkeypatch: Any) -> None:
    """920 usable bytes, 100 fixed, 190 a sequence: 4 fit; 12 samples are 3 microsteps of 4."""
    plant(monkeypatch, 190)
    done = command.call(*AUTO)
    assert done.returncode == 0, done.stderr
    assert "batch_size auto: 4 sequences a microstep, 3 microsteps" in done.stdout
    content = checkpoint.load(command.directory / "out" / "ckpt.pth")
    assert content["state"]["microbatch"] == 4 and content["global_batch"] == 12


def test_the_samples_of_a_step_are_those_of_any_other_split(command: Any, monkeypatch: Any) -> None:
    plant(monkeypatch, 190)
    assert command.call(*AUTO, "--out_dir", "auto").returncode == 0
    assert command.call(*AUTO, "--out_dir", "whole", "--batch_size", "12").returncode == 0
    assert [row["tokens"] for row in command.rows("auto")] == [row["tokens"] for row in command.rows("whole")]
    for ours, theirs in zip(command.rows("auto"), command.rows("whole"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_a_resume_keeps_the_choice_and_a_named_size_replaces_it(command: Any, monkeypatch: Any) -> None:
    plant(monkeypatch, 190)
    assert command.call(*AUTO).returncode == 0
    plant(monkeypatch, 1)  # everything would fit now
    assert command.call(*AUTO, "--resume", "--max_steps", "5").returncode == 0
    assert saved_microbatch(command, "out") == 4
    assert command.call(*AUTO, "--resume", "--max_steps", "6", "--batch_size", "6").returncode == 0
    assert saved_microbatch(command, "out") is None


def test_the_budget_bounds_it_and_too_small_a_one_is_refused(command: Any, monkeypatch: Any) -> None:
    plant(monkeypatch, 190)
    monkeypatch.setattr("training.preflight.checks.memory_limit", lambda device, budget: 10**12)
    assert command.call(*AUTO, "--memory_budget", "530").returncode == 0
    assert saved_microbatch(command, "out") == 2
    refused = command.call(*AUTO, "--memory_budget", "300", "--out_dir", "other")
    assert refused.returncode == 2
    assert "single sequence" in refused.stderr and "--memory_budget" in refused.stderr


@pytest.mark.parametrize(("kind", "found"), [("cuda", 1), ("cpu", None)])
def test_one_sequence_that_passed_is_left_to_the_trial_where_running_out_is_no_death(
    monkeypatch: pytest.MonkeyPatch, kind: str, found: int | None
) -> None:
    """1,050 bytes predicted of 1,000; more than one sequence ran out of memory when it was measured."""
    monkeypatch.setattr(microbatch, "memory_limit", lambda device, budget: 1000)
    monkeypatch.setattr(microbatch, "step_memory", lambda *args: StepMemory(1050, 0, most=1))
    training = TrainingConfig(batch_size="auto", global_batch_size=12)
    snapshot: Any = SimpleNamespace(
        strategy=Strategy(World(), torch.device(kind)), precision=SimpleNamespace(device=torch.device(kind))
    )

    upcoming: Any = None
    refused = pytest.raises(UserError, match="single sequence takes about 1")
    with nullcontext() if found else refused:
        assert microbatch.choose_microbatch(Split(training, World(), None), snapshot, upcoming, training) == found


def test_where_a_process_has_one_sequence_two_are_never_measured(command: Any, monkeypatch: Any) -> None:
    forward, seen = CausalLoss.forward, set()

    def counted(self: CausalLoss, inputs: torch.Tensor, **tensors: Any) -> Any:
        seen.add(len(inputs))
        return forward(self, inputs, **tensors)

    monkeypatch.setattr(CausalLoss, "forward", counted)
    done = command.call(*AUTO, "--global_batch_size", "1")
    assert "batch_size auto: 1 sequences" in done.stdout and seen == {1}, done.stderr


def test_on_this_machine_everything_fits(command: Any) -> None:
    done = command.call("--batch_size", "auto", "--max_steps", "2")
    assert done.returncode == 0, done.stderr
    assert saved_microbatch(command, "out") == 16


def test_a_step_that_does_not_fit_is_tried_in_smaller_pieces(command: Any, monkeypatch: Any) -> None:
    """A device that holds four sequences at a time: 9 samples become microsteps of 3, and the run is the same."""
    run = Stepper.run

    def small_device(self: Stepper, batches: Any, *more: Any) -> Any:
        if len(batches[0].tensors["inputs"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return run(self, batches, *more)

    flags = ("--batch_size", "9", "--max_steps", "3")
    assert command.call(*flags, "--out_dir", "whole").returncode == 0
    monkeypatch.setattr(Stepper, "run", small_device)
    done = command.call(*flags, "--out_dir", "pieces")
    assert done.returncode == 0, done.stderr
    assert "does not fit the memory" in done.stderr and "the run takes 3, 3 microsteps a step" in done.stderr
    assert saved_microbatch(command, "pieces") == 3
    for ours, theirs in zip(command.rows("pieces"), command.rows("whole"), strict=True):
        assert ours["tokens"] == theirs["tokens"] and ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_a_device_that_holds_no_sequence_is_said_at_once(command: Any, monkeypatch: Any) -> None:
    def no_room(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(Stepper, "run", no_room)
    done = command.call()
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "does not fit (CUDA out of memory" in done.stderr and "smaller model" in done.stderr
    assert not (command.directory / "out" / "metrics.jsonl").exists()


def test_the_limit_is_what_is_free_or_the_budget() -> None:
    cpu = torch.device("cpu")
    assert resident() > 2**25
    assert resident() < memory_limit(cpu, None)
    assert memory_limit(cpu, 12345) == 12345


def test_processes_of_one_machine_share_its_memory(monkeypatch: Any) -> None:
    monkeypatch.setattr("training.devices.free_memory._free_in_machine", lambda: 9 * 10**9)
    monkeypatch.setattr("training.devices.free_memory._free_in_container", lambda: 8 * 10**9)
    monkeypatch.setattr("training.devices.free_memory.resident", lambda: 10**9)
    assert memory_limit(torch.device("cpu"), None) == 9 * 10**9
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_limit(torch.device("cpu"), None) == 3 * 10**9


def test_ranks_with_different_memory_agree_on_the_smallest() -> None:
    class Three(World):
        def total(self, numbers: Any) -> list[int]:
            return [4 + numbers[0], numbers[1], 7 + numbers[2]]

    assert microbatch.smallest_of(Three(rank=1, size=3), 6) == 4
    assert microbatch.smallest_of(Three(rank=1, size=3), 3) == 3
    assert microbatch.smallest_of(World(), 5) == 5
