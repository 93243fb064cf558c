"""Where a run begins: what a resume needs, and what no fresh run may destroy."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.training.test_resume import die_at, newest_step


def test_a_run_whose_checkpoints_are_gone_keeps_its_models(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a finished run nor one that was broken off after its first save (4) is taken for one that never began."""
    assert command.call("--out_dir", "finished").returncode == 0
    die_at(monkeypatch, 7)
    assert command.call("--out_dir", "broken").returncode == 1
    monkeypatch.delenv("MATECONV_FAILPOINT")
    for name, model in (("finished", "final"), ("broken", "best")):
        run = command.directory / name
        (run / "ckpt.pth").unlink()
        shutil.rmtree(run / "checkpoints")
        before = sorted(run.rglob("*"))
        refused = command.call("--out_dir", name, "--resume")
        assert refused.returncode == 2 and f"{name}/{model}: a model" in refused.stderr, refused.stderr
        assert "--overwrite" in refused.stderr and "--out_dir" in refused.stderr
        assert sorted(run.rglob("*")) == before
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
    for how in ("--resume", "--overwrite"):  # elsewhere nothing speaks against it
        done = command.call("--init_from", "out/best", "--out_dir", "other", *short, how)
        assert done.returncode == 0, done.stderr
