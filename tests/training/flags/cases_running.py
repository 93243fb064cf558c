"""One case for each flag that decides what is saved, watched, logged and continued: what it changes."""

from __future__ import annotations

import json
import sys
import threading
import types
from typing import Any

from foundation.errors import UserError
from tests.training.flags.trying import Tried, Trier
from training.saving import checkpoint


def steps_kept(tried: Tried) -> list[int]:
    return checkpoint.saved_steps(tried.path)


def eval_interval(run: Trier) -> None:
    tried = run.good("--eval_interval", "2", "--max_steps", "5")
    assert [row["step"] for row in tried.rows if "val_loss" in row] == [2, 4, 5]


EVERY = ("--eval_interval", "1", "--max_steps", "7", "--min_delta", "1000")


def early_stopping(run: Trier) -> None:
    assert run.good(*EVERY).column("step")[-1] == 7
    assert run.good(*EVERY, "--early_stopping", "--patience", "1").column("step")[-1] == 2


def patience(run: Trier) -> None:
    assert run.good(*EVERY, "--early_stopping", "--patience", "3").column("step")[-1] == 4


def min_delta(run: Trier) -> None:
    flags = (*EVERY, "--early_stopping", "--patience", "1", "--learning_rate", "0.001")
    assert run.good(*flags).column("step")[-1] == 2
    assert run.good(*flags, "--min_delta", "0").column("step")[-1] == 7  # it improves every time


def out_dir(run: Trier) -> None:
    tried = run.good(out="elsewhere/deep")
    assert (run.command.directory / "elsewhere" / "deep" / "ckpt.pth").is_file() and tried.path.name == "deep"


def save_interval(run: Trier) -> None:
    assert steps_kept(run.good("--save_interval", "2", "--max_steps", "5", "--keep_last", "9")) == [2, 4, 5]


KEEP = ("--save_interval", "1", "--max_steps", "6", "--eval_interval", "2", "--learning_rate")


def keep_last(run: Trier) -> None:
    assert steps_kept(run.good(*KEEP, "0.001", "--keep_last", "2")) == [5, 6]


def keep_best(run: Trier) -> None:
    """A rate so high that the validation at step 2 stays the best."""
    flags = (*KEEP, "30", "--keep_last", "1", "--warmup_steps", "5", "--weight_decay", "0", "--grad_clip", "null")
    kept = run.good(*flags)
    best = kept.content["best"]["step"]
    assert best < 6
    assert steps_kept(kept) == [best, 6]
    assert steps_kept(run.good(*flags, "--keep_best", "false")) == [6]


def async_save(run: Trier) -> None:
    names: list[str] = []
    save = checkpoint.save

    def watched(*args: Any, **more: Any) -> Any:
        names.append(threading.current_thread().name)
        return save(*args, **more)

    run.monkeypatch.setattr(checkpoint, "save", watched)
    run.good()
    run.good("--async_save", "false")
    main = threading.main_thread().name
    assert names[0] != main and names[-1] == main


EXPLODES = ("--learning_rate", "1e37", "--weight_decay", "0", "--grad_clip", "null", "--warmup_steps", "0",
            "--max_steps", "12")  # fmt: skip


def on_nonfinite(run: Trier) -> None:
    skips, stops = run(*EXPLODES), run(*EXPLODES, "--on_nonfinite", "stop")
    assert sum(skips.column("skipped")) == 5 and sum(stops.column("skipped")) == 1
    assert stops.code == 1


def max_bad_steps(run: Trier) -> None:
    tried = run(*EXPLODES, "--max_bad_steps", "2")
    assert tried.code == 1 and sum(tried.column("skipped")) == 2


def spike_threshold(run: Trier) -> None:
    """Steps whose loss is a hair above the usual one are spikes when the threshold is a hair."""
    flags = ("--max_steps", "40", "--learning_rate", "0.3", "--warmup_steps", "30", "--log_interval", "20")
    low, never = run.good(*flags, "--spike_threshold", "0.01"), run.good(*flags, "--spike_threshold", "null")
    assert (low.path / "spikes.jsonl").read_text().count("\n") > 0
    assert not (never.path / "spikes.jsonl").exists()


def preflight(run: Trier) -> None:
    assert "takes about" in run.good("--preflight", "true").out and "takes about" not in run.base.out


def memory_budget(run: Trier) -> None:
    refused = run("--preflight", "true", "--memory_budget", "2MB")
    assert refused.code == 2 and "2.00\u202fMB may be used" in refused.err


def log_interval(run: Trier) -> None:
    assert run.good("--log_interval", "2", "--max_steps", "5").column("step") == [2, 4, 5]


def samples(tried: Tried) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tried.path / "samples.jsonl").read_text().splitlines()]


def sample_prompts(run: Trier) -> None:
    found = samples(run.good("--sample_tokens", "5", "--sample_prompts", "the cat", "the rat"))
    assert [row["prompt"] for row in found] == ["the cat", "the rat"]


def sample_tokens(run: Trier) -> None:
    assert not (run.base.path / "samples.jsonl").exists()
    assert len(samples(run.good("--sample_tokens", "5"))) == 1


def report(run: Trier) -> None:
    assert not (run.base.path / "report.html").exists()
    assert (run.good("--report", "true").path / "report.html").is_file()


def peak_tflops(run: Trier) -> None:
    assert not run.base.column("mfu")
    slow, fast = (run.good("--peak_tflops", value).column("mfu")[-1] for value in ("0.001", "1"))
    assert slow > fast > 0


def use_tensorboard(run: Trier) -> None:
    tried = run.good("--use_tensorboard")
    assert list((tried.path / "tensorboard").glob("events*")) and not (run.base.path / "tensorboard").exists()


def imitated_wandb(run: Trier) -> list[dict[str, Any]]:
    """A stand-in for the library; gives the list that each `init` adds its arguments to."""
    began: list[dict[str, Any]] = []
    module = types.ModuleType("wandb")
    nothing = {name: lambda *a, **k: None for name in ("define_metric", "log", "finish")}
    handle = types.SimpleNamespace(id="abc", url="https://far.away/abc", **nothing)

    def init(**options: Any) -> Any:
        began.append(options)
        return handle

    names = {
        "Settings": lambda **options: options,
        "Table": lambda **options: options,
        "errors": types.SimpleNamespace(Error=RuntimeError),
        "init": init,
    }
    for name, value in names.items():
        setattr(module, name, value)
    run.monkeypatch.setitem(sys.modules, "wandb", module)
    return began


def use_wandb(run: Trier) -> None:
    began = imitated_wandb(run)
    run.good()
    assert not began
    run.good("--use_wandb")
    assert len(began) == 1 and began[0]["config"]["training"]["max_steps"] == 3


def wandb_project(run: Trier) -> None:
    began = imitated_wandb(run)
    run.good("--use_wandb", "--wandb_project", "poems")
    assert began[0]["project"] == "poems"


def wandb_run_name(run: Trier) -> None:
    began = imitated_wandb(run)
    run.good("--use_wandb", "--wandb_run_name", "exp1")
    assert began[0]["name"] == "exp1"


def wandb_mode(run: Trier) -> None:
    began = imitated_wandb(run)
    run.good("--use_wandb", "--wandb_mode", "disabled")
    assert began[0]["mode"] == "disabled"


def resume(run: Trier) -> None:
    run.good(out="one")
    again = run.good("--resume", "--max_steps", "5", out="one")
    assert "resuming" in again.out and again.column("step") == [1, 2, 3, 4, 5]


def resume_from(run: Trier) -> None:
    run.good("--save_interval", "1", out="one")
    for more in ((), ("--resume",)):  # with it, too, the named one and not the newest
        again = run.good("--resume_from", "one/checkpoints/step_000002.pth", "--max_steps", "4", *more, out="one")
        assert "step_000002.pth at step 2" in again.out and again.column("step") == [1, 2, 3, 4]


def overwrite(run: Trier) -> None:
    run.good(out="one")
    assert run(out="one").code == 2
    assert run.good("--overwrite", "--max_steps", "2", out="one").column("step") == [1, 2]


def allow_change(run: Trier) -> None:
    run.good(out="one")
    flags = ("--resume", "--seed", "3", "--max_steps", "4")
    assert run(*flags, out="one").code == 2
    assert "seed changed from 0 to 3" in run.good(*flags, "--allow_change", "seed", out="one").err


def dry_run(run: Trier) -> None:
    tried = run("--dry_run")
    assert tried.code == 0 and "3 steps to do" in tried.out and not (tried.path / "metrics.jsonl").exists()


def ddp(run: Trier) -> None:
    """Alone it says how processes are started; torchrun without it is refused."""
    assert "torchrun" in run.good("--ddp").out
    run.monkeypatch.setenv("WORLD_SIZE", "2")
    refused = run()
    assert refused.code == 2 and "--ddp is not given" in refused.err


def local_rank(run: Trier) -> None:
    """What the older launcher passes; it names the GPU of the process where the environment does not."""
    given: list[int] = []

    def join(local: int, *more: Any) -> Any:
        given.append(local)
        raise UserError("far enough")

    run.monkeypatch.setattr("training.devices.distributed._join", join)
    run.monkeypatch.setenv("WORLD_SIZE", "2")
    run.monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert "far enough" in run("--ddp", "--local_rank", "7").err and given == [7]


def license(run: Trier) -> None:
    tried = run.good("--license", "cc-by-4.0")
    assert tried.card["license"] == "cc-by-4.0" and run.base.card["license"] == "unknown"
    assert json.loads((tried.path / "final" / "config.json").read_text())["mateconv"]["license"] == "cc-by-4.0"
    assert run("--license", "free: yes\n").code == 2


def language(run: Trier) -> None:
    assert run.good("--language", "en", "zh").card["language"] == ["en", "zh"]
    assert "language" not in run.base.card
    assert run("--language", "- a").code == 2 and run("--language", "none").code == 2


CASES = {
    case.__name__: case
    for case in (
        eval_interval, early_stopping, patience, min_delta, out_dir, save_interval, keep_last, keep_best, async_save,
        on_nonfinite, max_bad_steps, spike_threshold, preflight, memory_budget, log_interval, sample_prompts,
        sample_tokens, report, peak_tflops, use_tensorboard, use_wandb, wandb_project, wandb_run_name, wandb_mode,
        resume, resume_from, license, language,
        overwrite, allow_change, dry_run, ddp, local_rank,
    )
}  # fmt: skip
