"""Where a run begins: what a resume needs, and what no fresh run may destroy."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_resume import die_at, newest_step
from training.saving import checkpoint
from training.trainer import Trainer


def test_a_run_whose_checkpoints_are_gone_keeps_its_models(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a finished run nor one that was broken off after its first save (4) is taken for one that never began."""
    assert command.call("--out_dir", "finished").returncode == 0
    die_at(monkeypatch, 7)
    assert command.call("--out_dir", "broken").returncode == 1
    monkeypatch.delenv("MATECONV_FAILPOINT")
    for name, model in (("finished", "final"), ("broken", "best")):
        out = command.directory / name
        (out / "ckpt.pth").unlink()
        shutil.rmtree(out / "checkpoints")
        before = sorted(out.rglob("*"))
        refused = command.call("--out_dir", name, "--resume")
        assert refused.returncode == 2 and f"{name}/{model}: a model" in refused.stderr, refused.stderr
        assert "--overwrite" in refused.stderr and "--out_dir" in refused.stderr
        assert sorted(out.rglob("*")) == before
        assert command.call("--out_dir", name, "--overwrite", "--max_steps", "1").returncode == 0


def test_a_run_that_died_before_its_first_save_begins_again_by_itself(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its best model lies there already; launch scripts say --resume every time."""
    rare = ("--eval_interval", "3", "--save_interval", "9")
    die_at(monkeypatch, 8)
    assert command.call("--resume", *rare).returncode == 1
    assert (command.directory / "out" / "best").exists() and newest_step(command.directory / "out") == 0
    monkeypatch.delenv("MATECONV_FAILPOINT")
    done = command.call("--resume", *rare)
    assert done.returncode == 0 and "no checkpoint yet" in done.stdout, done.stderr
    assert [row["step"] for row in command.rows()] == list(range(1, 13))


def test_a_run_does_not_replace_the_one_it_starts_from(command: Any) -> None:
    short = ("--max_steps", "1")
    assert command.call(*short).returncode == 0
    (command.directory / "link").symlink_to("out")
    model = command.directory / "out" / "best" / "model.safetensors"
    before = model.stat()
    for how in (["--overwrite"], [], ["--overwrite", "--out_dir", "link"]):
        for start in ("out/best", "link/../out/final/"):
            refused = command.call("--init_from", start, *how)
            assert refused.returncode == 2 and "choose another --out_dir" in refused.stderr, refused.stderr
            assert "replace it with --overwrite" not in refused.stderr
    assert model.stat() == before
    for again in ("--resume", "--overwrite"):  # elsewhere nothing speaks against it
        done = command.call("--init_from", "out/best", "--out_dir", "other", *short, again)
        assert done.returncode == 0, done.stderr


def test_a_resumed_run_lets_go_of_the_checkpoint_it_read(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.call().returncode == 0
    read: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []
    load, loop = checkpoint.load, Trainer.run

    def watched(path: Path) -> dict[str, Any]:
        content = load(path)
        read.extend(weakref.ref(tensor) for tensor in content["model"].values())
        return content

    def looking(self: Trainer) -> int:
        gc.collect()
        held.append(sum(tensor() is not None for tensor in read))
        return loop(self)

    monkeypatch.setattr(checkpoint, "load", watched)
    monkeypatch.setattr(Trainer, "run", looking)
    assert command.call("--resume", "--max_steps", "13").returncode == 0
    assert read and held == [0]


@pytest.mark.parametrize(
    ("change", "told"), [(("--optimizer", "adam"), True), (("--layer_lr_decay", "0.9"), True), (("--seed", "3"), False)]
)
def test_moments_that_begin_anew_are_told(command: Any, change: tuple[str, str], told: bool) -> None:
    assert command.call("--max_steps", "2").returncode == 0
    name = change[0].removeprefix("--")
    done = command.call("--resume", "--max_steps", "3", *change, "--allow_change", name)
    assert done.returncode == 0, done.stderr
    assert ("moments begin anew" in done.stderr) == told
