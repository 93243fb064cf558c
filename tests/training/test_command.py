"""The training command: what it makes, what it refuses, and that it says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.preflight.checks import check_data


def test_a_run_leaves_what_the_layout_promises(command: Any) -> None:
    (command.directory / "out").mkdir()
    (command.directory / "out" / ".gitkeep").touch()
    done = command.call("--report", "true")
    assert done.returncode == 0, done.stderr
    out = command.directory / "out"
    for name in (
        "ckpt.pth",
        "metrics.jsonl",
        "train.log",
        "checkpoints/step_000012.pth",
        ".gitkeep",
        "best/model.safetensors",
        "final/model.safetensors",
        "final/tokenizer.json",
    ):
        assert (out / name).is_file(), name
    assert (out / "training_history.png").read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    for row in rows:
        assert {"step", "tokens", "loss", "lr", "grad_norm", "tokens_per_second"} <= row.keys()
        assert row["tokens"] == row["step"] * 3 * 17
    assert [row["step"] for row in rows if "val_loss" in row] == [5, 10, 12]
    ours = json.loads((out / "final" / "config.json").read_text())["mateconv"]
    assert ours["step"] == 12 and ours["weights"] == "raw" and ours["objective"] == "causal"
    assert "step 7/12" in (out / "train.log").read_text()


def test_an_existing_run_is_refused_and_overwrite_replaces_it(command: Any) -> None:
    assert command.call().returncode == 0
    (command.directory / "out" / "finetune").mkdir()
    (command.directory / "out" / "test_metrics.json").touch()  # as a classifier leaves it
    before = command.rows()
    refused = command.call("--max_steps", "3")
    assert refused.returncode == 2
    assert "--resume" in refused.stderr and "--overwrite" in refused.stderr and "step 12" in refused.stderr
    assert command.rows() == before
    assert command.call("--max_steps", "3", "--overwrite").returncode == 0
    assert [row["step"] for row in command.rows()] == [1, 2, 3]
    assert (command.directory / "out" / "finetune").is_dir()
    assert not (command.directory / "out" / "test_metrics.json").exists()


def test_overwrite_destroys_nothing_when_the_new_run_cannot_start(command: Any) -> None:
    assert command.call().returncode == 0
    before = command.rows()
    failed = command.call("--overwrite", "--train_data_path", "nowhere")
    assert failed.returncode == 2 and "nowhere" in failed.stderr
    assert command.rows() == before


def test_a_checkpoint_of_another_directory_is_continued_in_this_one(command: Any) -> None:
    assert command.call("--out_dir", "first").returncode == 0
    done = command.call("--out_dir", "second", "--resume_from", "first/ckpt.pth", "--max_steps", "14")
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in command.rows("second")] == [13, 14]
    again = command.call("--out_dir", "second", "--resume_from", "first/ckpt.pth")
    assert again.returncode == 2 and "second: holds a run" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--train_data_path", "missing"], ["missing", "no dataset"]),
        (["--max_seq_len", "65"], ["max_seq_len 65", "--max_position_embeddings 65"]),
        (["--max_seq_len", "60", "--max_position_embeddings", "30", "--betas", "1", "2"], ["max_seq_len", "betas"]),
        (["--resume", "--overwrite"], ["--overwrite", "--resume"]),
        (["--resume_from", "nothing.pth"], ["nothing.pth: no such checkpoint"]),
        (["--allow_change", "seed"], ["--allow_change"]),
        (["--learning_rat", "1"], ["--learning_rate"]),
        (["--device", "abacus"], ["abacus"]),
        (["--learning_rate", "0"], ["learning_rate", "greater than 0"]),
    ],
)
def test_mistakes_are_one_clear_message_before_any_work(
    command: Any, arguments: list[str], expected: list[str]
) -> None:
    done = command.call(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for text in expected:
        assert text in done.stderr
    assert not (command.directory / "out" / "metrics.jsonl").exists()


def test_a_dataset_too_small_for_a_sequence(command: Any, make_dataset: Any) -> None:
    done = command.call("--train_data_path", str(make_dataset("small", [np.array([9, 8, 0])])))
    assert done.returncode == 2 and "3 tokens" in done.stderr and "--max_seq_len" in done.stderr


def test_without_a_validation_split_it_says_so_and_best_is_the_newest(command: Any, make_dataset: Any) -> None:
    documents = [np.append(np.arange(7, 40), 0) for _ in range(11)]
    done = command.call("--train_data_path", str(make_dataset("unsplit", documents)))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no validation split") == 1
    assert not any("val_loss" in row for row in command.rows())
    config = json.loads((command.directory / "out" / "best" / "config.json").read_text())
    assert config["mateconv"]["step"] == 12


def test_another_tokenizer_than_the_datasets_is_refused(command: Any, tmp_path: Path) -> None:
    from tokenization.train import train_byte_bpe

    train_byte_bpe(["completely different text " * 9], 270).save(tmp_path / "other")
    done = command.call("--tokenizer_path", str(tmp_path / "other"))
    assert done.returncode == 2
    assert "another tokenizer" in done.stderr and "other" in done.stderr and "--tokenizer_path" in done.stderr


def test_a_plain_nanogpt_file_trains_with_a_tokenizer(command: Any, dataset: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    generator.integers(7, 280, size=991).astype("<u2").tofile(tmp_path / "train.bin")
    generator.integers(7, 280, size=101).astype("<u2").tofile(tmp_path / "val.bin")
    lacking = command.call("--train_data_path", "train.bin")
    assert lacking.returncode == 2 and "--tokenizer_path" in lacking.stderr
    done = command.call(
        "--train_data_path",
        "train.bin",
        "--val_data_path",
        "val.bin",
        "--tokenizer_path",
        str(dataset / "tokenizer"),
    )
    assert done.returncode == 0, done.stderr
    assert "val_loss" in command.rows()[-1]


def test_a_token_outside_the_vocabulary_is_named(command: Any, dataset: Path, tmp_path: Path) -> None:
    np.full(99, 280, "<u2").tofile(tmp_path / "train.bin")
    done = command.call("--train_data_path", "train.bin", "--tokenizer_path", str(dataset / "tokenizer"))
    assert done.returncode == 2 and "token id 280" in done.stderr and "train.bin" in done.stderr


def test_a_second_run_on_one_directory_is_stopped_and_names_the_first(command: Any) -> None:
    first = command.start("--max_steps", "100k", "--eval_interval", "100k")
    try:
        metrics = command.directory / "out" / "metrics.jsonl"
        while first.poll() is None and not metrics.exists():
            time.sleep(0.01)
        second = command.call("--resume")
        assert second.returncode == 2 and f"process {first.pid}" in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGUSR1, 0)])
def test_a_signal_before_the_first_step_ends_the_run_tidily_or_does_nothing(
    number: int, code: int, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*arguments: Any) -> None:
        os.kill(os.getpid(), number)
        check_data(*arguments)

    monkeypatch.setattr("training.preparation.check_data", signalled)
    done = command.call("--preflight", "true")
    assert done.returncode == code and "Traceback" not in done.stderr
    assert ("with --resume goes on" in done.stderr) == (code != 0)
    assert (command.directory / "out" / "ckpt.pth").exists() == (code == 0)


def test_a_full_disk_is_one_line_and_the_run_resumes(command: Any) -> None:
    failed = command.run(MATECONV_FAILPOINT="checkpoint.write:700:raise=ENOSPC")
    assert failed.returncode == 1
    assert "disk is full" in failed.stderr and "step_000008.pth" in failed.stderr and "Traceback" not in failed.stderr
    assert command.call("--resume").returncode == 0
    assert [row["step"] for row in command.rows()] == list(range(1, 13))


def test_a_loss_that_stays_non_finite_stops_the_run(command: Any) -> None:
    """A learning rate that explodes: steps are skipped, named, and the run ends with its checkpoints intact."""
    done = command.call(
        "--learning_rate",
        "1e37",
        "--weight_decay",
        "0",
        "--grad_clip",
        "null",
        "--max_bad_steps",
        "3",
        "--warmup_steps",
        "0",
        "--save_interval",
        "1",
        "--max_steps",
        "50",
    )
    assert done.returncode == 1, done.stderr
    assert "3 steps in a row" in done.stderr and "samples" in done.stderr
    rows = command.rows()
    assert [row["skipped"] for row in rows[-3:]] == [True] * 3


def test_wandb_works_offline(command: Any) -> None:
    samples = ["--sample_prompts", "the cat", "--sample_tokens", "3"]
    done = command.run("--use_wandb", "--wandb_mode", "offline", "--max_steps", "3", *samples)
    assert done.returncode == 0, done.stderr
    out = command.directory / "out" / "wandb"
    [run] = out.glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    assert f"wandb sync out/wandb/{run.name}" in done.stdout and "failed" not in done.stderr
    [table] = out.glob("offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"][0][0] == "the cat"


def test_wandb_can_be_disabled(command: Any) -> None:
    done = command.call("--use_wandb", "--wandb_mode", "disabled", "--max_steps", "3")
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in command.rows()] == [1, 2, 3]
    assert not (command.directory / "out" / "wandb").exists()


def test_help_needs_no_torch(command: Any) -> None:
    code = (
        "import sys, runpy; sys.argv = ['train.py', '--help']\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([command.argv()[0], "-c", code], cwd=root, capture_output=True).returncode == 0
