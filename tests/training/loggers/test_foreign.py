"""TensorBoard and Weights & Biases: what they get, what they refuse, and that no fault of theirs ends a run."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from training.loggers import Logger, foreign
from training.loggers.foreign import Foreign
from training.loggers.wandb_logger import settings_for


def test_tensorboard_has_rows_and_samples_and_a_resume_hides_what_was_lost(command: Any) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    base = ["--use_tensorboard", "true", "--sample_prompts", "the cat", "--sample_tokens", "5"]
    assert command.call(*base, "--max_steps", "6").returncode == 0
    assert command.call(*base, "--resume", "--max_steps", "9").returncode == 0
    events = EventAccumulator(str(command.directory / "out" / "tensorboard")).Reload()
    rows = command.rows()
    for key in ("loss", "lr", "grad_norm"):
        scalars = events.Scalars(key)
        assert [value.step for value in scalars] == list(range(1, 10))
        assert [value.value for value in scalars] == pytest.approx([row[key] for row in rows], rel=1e-6)
    assert [value.step for value in events.Scalars("val_loss")] == [5, 6, 9]
    assert "sample 0/text_summary" in events.Tags()["tensors"]


def test_a_missing_tensorboard_names_the_remedy(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = command.call("--use_tensorboard", "true")
    assert done.returncode == 2 and "pip install tensorboard" in done.stderr and "Traceback" not in done.stderr


class FakeWandb(types.ModuleType):
    """An imitation of the library that remembers what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.started: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.axes: dict[str, str | None] = {}
        self.url = "https://far.away/mine/run-1"
        self.exit_codes: list[int] = []
        self.errors = types.SimpleNamespace(Error=type("Error", (Exception,), {}))
        self.id = "run-1"
        self.settings = types.SimpleNamespace(sync_dir="out/wandb/run-1")
        self.torn_down = 0

    def Settings(self, **options: Any) -> dict[str, Any]:
        return options

    def Table(self, columns: list[str], data: list[list[str]]) -> tuple[Any, ...]:
        return (columns, data)

    def init(self, **options: Any) -> FakeWandb:
        self.started.append(options)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes[name] = step_metric

    def log(self, values: dict[str, Any]) -> None:
        self.rows.append(values)

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)

    def teardown(self) -> None:
        self.torn_down += 1
        sys.exit(9)  # as the library does when its helper process ended badly


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_gets_rows_settings_and_samples_and_a_resume_continues_the_run(command: Any, wandb: FakeWandb) -> None:
    base = ["--use_wandb", "true", "--wandb_mode", "offline", "--wandb_project", "mine"]
    base += ["--sample_prompts", "the", "--sample_tokens", "3"]
    assert command.call(*base, "--max_steps", "5").returncode == 0
    assert command.call(*base, "--resume", "--max_steps", "6").returncode == 0
    first, second = wandb.started
    assert (first["project"], first["mode"], first["id"], first["resume"]) == ("mine", "offline", None, None)
    assert (second["id"], second["resume"]) == ("run-1", "allow")
    assert first["config"]["training"]["max_steps"] == 5 and first["dir"].endswith("out")
    assert [values["step"] for values in wandb.rows if "loss" in values] == [1, 2, 3, 4, 5, 6]
    [samples, _] = [values["samples"] for values in wandb.rows if "samples" in values]
    assert samples[0] == ["prompt", "text"] and samples[1][0][0] == "the"
    assert wandb.exit_codes == [0, 0]


def test_wandb_gets_the_rows_again_that_a_resume_from_an_older_step_makes(command: Any, wandb: FakeWandb) -> None:
    """Its own count of steps, which takes no row of a step before the last one, is not used: steps are values."""
    done = command.call("--use_wandb", "true", "--max_steps", "6")
    assert done.returncode == 0 and "Weights & Biases: https://far.away/mine/run-1" in done.stdout
    assert "far.away" in (command.directory / "out" / "train.log").read_text()
    older = command.directory / "out" / "checkpoints" / "step_000004.pth"
    assert command.call("--use_wandb", "true", "--max_steps", "6", "--resume_from", str(older)).returncode == 0
    assert [values["step"] for values in wandb.rows if "loss" in values] == [1, 2, 3, 4, 5, 6, 5, 6]
    assert wandb.axes == {"step": None, "*": "step"}


def test_a_branch_in_another_directory_is_a_wandb_run_of_its_own(command: Any, wandb: FakeWandb) -> None:
    base = ["--use_wandb", "true", "--max_steps"]
    assert command.call(*base, "4", "--out_dir", "a").returncode == 0
    wandb.id = "run-2"
    branch = ["--out_dir", "b", "--resume_from"]
    assert command.call(*base, "5", *branch, "a/checkpoints/step_000004.pth").returncode == 0
    assert command.call(*base, "6", *branch, "b/ckpt.pth").returncode == 0
    assert command.call(*base, "5", "--out_dir", "a", "--resume").returncode == 0
    assert [started["id"] for started in wandb.started] == [None, None, "run-2", "run-1"]


def test_wandb_hears_that_a_run_diverged(command: Any, wandb: FakeWandb) -> None:
    done = command.call(
        "--use_wandb", "true", "--learning_rate", "1e37", "--weight_decay", "0", "--grad_clip", "null",
        "--max_bad_steps", "2", "--warmup_steps", "0",
    )  # fmt: skip
    assert done.returncode == 1 and wandb.exit_codes == [1]


def test_wandb_that_cannot_start_is_one_message(command: Any, wandb: FakeWandb) -> None:
    def refuse(**_: object) -> FakeWandb:
        raise wandb.errors.Error("no key")

    start, wandb.init = wandb.init, refuse  # type: ignore[method-assign]
    done = command.call("--use_wandb", "true")
    assert done.returncode == 2 and "no key" in done.stderr and "--wandb_mode offline" in done.stderr
    wandb.init = start  # type: ignore[method-assign]
    assert command.call("--use_wandb", "true", "--max_steps", "2").returncode == 0, "nothing was left in the directory"


@pytest.mark.parametrize("refuses", ["wandb", "tensorboard"])
def test_a_refusal_leaves_the_run_that_was_to_be_replaced(
    command: Any, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    both = ("--use_tensorboard", "true", "--use_wandb", "true", "--max_steps", "2")
    assert command.call(*both).returncode == 0
    files = [file for file in (command.directory / "out").rglob("*") if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    assert any("tensorboard" in str(file) for file in files)
    if refuses == "wandb":
        monkeypatch.setattr(wandb, "Settings", lambda **_: int("odd"))
    else:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = command.call(*both, "--overwrite")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert {file: file.read_bytes() for file in (command.directory / "out").rglob("*") if file.is_file()} == before
    assert len(wandb.started) == 1


@pytest.mark.parametrize("where", ["saving.run_directory.RunDirectory.cut_back", "run.Trainer"])
def test_an_error_before_the_first_step_closes_what_was_opened(
    command: Any, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "out/metrics.jsonl")

    monkeypatch.setattr(f"training.{where}", full)
    assert command.call("--use_wandb", "true").returncode == 1
    assert len(wandb.started) == 1 and wandb.exit_codes == [1]
    history = command.directory / "out" / "history.jsonl"
    assert not history.exists() or not history.read_text(), "a start without an end would read as a killed run"


class Broken(Logger):
    """Remembers its calls and fails in those that are named."""

    def __init__(self, *fails: str) -> None:
        self.fails, self.calls = fails, list[str]()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise ConnectionError(f"no {name}")

    def begin(self) -> None:
        self._called("begin")

    def log(self, row: Any) -> None:
        self._called("log")

    def note(self, event: Any) -> None:
        self._called("note")

    def show(self, step: int, samples: Any) -> None:
        self._called("show")

    def save(self) -> None:
        self._called("save")

    def close(self) -> None:
        self._called("close")


@pytest.mark.parametrize("also", [(), ("close",)])
@pytest.mark.parametrize("at", range(6))
def test_a_fault_is_one_warning_and_the_logger_is_off(
    monkeypatch: pytest.MonkeyPatch, at: int, also: tuple[str, ...]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(foreign.log, "warning", lambda text, *words: said.append(text % words))
    names = ["begin", "log", "note", "show", "save", "close"]
    inner = Broken(names[at], *also)
    logger = Foreign("Far away", inner)
    for _ in range(2):
        logger.begin()
        logger.log({})
        logger.note({})
        logger.show(1, [])
        logger.save()
        logger.close()
    assert said == [f"Far away failed (no {names[at]}); the run goes on without it"]
    assert inner.calls == [*names[: at + 1], "close"]


@pytest.mark.parametrize("fault", ["log", "finish"])
def test_wandb_that_fails_on_the_way_costs_nothing_but_itself(
    command: Any, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(wandb, fault, fail)
    done = command.call("--use_wandb", "true", "--max_steps", "5")
    assert done.returncode == 0
    assert [row["step"] for row in command.rows()] == [1, 2, 3, 4, 5]
    assert done.stderr.count("Weights & Biases failed") == 1 and "Broken pipe" in done.stderr
    assert wandb.torn_down == (2 if fault == "finish" else 0)  # it was tried twice


def test_an_upload_that_does_not_end_is_left_for_later(command: Any, wandb: FakeWandb) -> None:
    def slow(exit_code: int) -> None:
        raise TimeoutError

    wandb.finish = slow  # type: ignore[method-assign]
    done = command.call("--use_wandb", "true", "--max_steps", "2")
    assert done.returncode == 0 and "wandb sync out/wandb/run-1" in done.stderr
    assert wandb.started[0]["settings"]["finish_timeout"] == 20


def test_the_limit_is_left_out_where_wandb_has_none() -> None:
    import wandb

    class Older:
        model_fields = ("silent",)

        def __init__(self, silent: bool) -> None:
            self.silent = silent

    assert settings_for(Older).silent is True
    assert settings_for(wandb.Settings).finish_timeout == 20
