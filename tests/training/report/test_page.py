"""The report of a run: it says what the run's files say, fetches nothing, and no text becomes markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from tests.foundation.page.reader import TAGS, Page
from training.report.__main__ import main
from training.report.files import RunFiles
from training.report.page import render, write_report

HOSTILE = "<script>alert(1)</script> \u202e & \"'><img src=x onerror=alert(1)>"
FACTS = {
    "step": 0, "command": f"python train.py {HOSTILE}", "machine": "2 CPUs", "device": "cpu", "dtype": "float32",
    "ranks": 2, "parameters": 1_234_567, "dataset": f"dataset/{HOSTILE}", "train_tokens": 10_000,
    "validation_tokens": None, "vocab_size": 300, "global_batch": 8, "tokens_per_step": 800, "tokens_per_epoch": 10_000,
    "total_steps": 50, "versions": {"torch": "2.13.0"}, "config": {"training": {"learning_rate": 0.01, "x": HOSTILE}},
}  # fmt: skip


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a run that was stopped, killed and finished, with a spike, a skipped step and hostile samples."""
    path = tmp_path / "<b>run & co"
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / "step_000050.pth").write_bytes(b"x" * 2000)
    (path / "best").mkdir()
    (path / "best" / "model.safetensors").write_bytes(b"x" * 1000)
    rows: list[dict[str, Any]] = []
    for step in range(1, 51):
        row: dict[str, Any] = {
            "step": step, "tokens": 800 * step, "loss": 6 - step / 20, "lr": 0.01 / step, "progress": step / 50,
            "grad_norm": 0.5 + step % 7, "tokens_per_second": 1000.0 + step, "mfu": 0.25,
        }  # fmt: skip
        if step == 13:
            row |= {"loss": None, "grad_norm": None, "skipped": True}
        if step % 10 == 0:
            row |= {"val_loss": 4.0 - step / 50, "val_loss_ema": 5.25 - step / 50}
        rows.append(row)
    write(path / "metrics.jsonl", rows)
    samples = [{"step": 10 * n, "prompt": HOSTILE if n % 2 else "", "text": f"{HOSTILE} at {n}"} for n in range(1, 30)]
    write(path / "samples.jsonl", samples)
    place = {"sample": 264, "dataset": HOSTILE, "split": "train", "token": 77, "tokens": 100}
    spike = {
        "event": "spike",
        "step": 33,
        "loss": 9.5,
        "expected": 4.25,
        "suspects": [[264, 267]],
        "documents": [place],
    }
    write(
        path / "spikes.jsonl",
        [{**spike, "documents": [place]}, {"event": "skipped", "step": 7, "loss": None, "suspects": [[56, 56]]}],
    )
    times = {"steps": 30.5, "validation": 8.25, "first step": 1.5}
    history = [
        {"time": 1000.0, "event": "started", **FACTS},
        {"time": 1020.0, "event": "saved", "step": 20, "seconds": {"steps": 10.0}},
        {"time": 1021.0, "event": "stopped", "step": 20, "seconds": {"steps": 10.0}, "reason": "SIGTERM"},
        {"time": 2000.0, "event": "started", **FACTS, "step": 20},
        {"time": 2010.0, "event": "out_of_memory", "step": 30, "batch_size": 4, "note": HOSTILE},
        {"time": 3000.0, "event": "started", **FACTS, "step": 30},
        {"time": 3060.0, "event": "finished", "step": 50, "seconds": times},
    ]
    write(path / "history.jsonl", history)
    return path


def page(path: Path) -> tuple[str, Page]:
    source = write_report(path).read_text()
    return source, Page(source)


def test_it_says_what_the_files_say(run: Path) -> None:
    _, found = page(run)
    for text in (
        "1.23\u202fM parameters", "50 steps", "40,000 tokens", "4 passes", "validation loss down to 4.2500",
        "4.250best validation loss (EMA), step 50", "70.1its perplexity", "25.0%of the peak FLOP/s",
        "1\u202fmin 31\u202fsin 3 stretches", "Training run · finished",
        "stopped (SIGTERM)", "killed after step 30 or later", "0 – 20", "30 – 50", "2 processes on cpu, float32",
        "out of memory", "batch size 4", "skipped7not finite56",
        "spike339.50004.2500264 to 267: <script>", "train from token 77", "float1613not finite",
        "steps40.5\u202fs", "validation8.25\u202fs", "checkpoints/step_000050.pth2.00\u202fkB", "best/1.00\u202fkB",
        "tokens to train on10,000", "learning_rate: 0.01", "torch 2.13.0",
    ):  # fmt: skip
        assert text in found.shown, text


def test_a_run_of_tokens_says_how_many_are_planned(run: Path) -> None:
    history = (run / "history.jsonl").read_text()
    (run / "history.jsonl").write_text(
        history.replace('"total_steps": 50', '"total_steps": null, "total_tokens": 50000')
    )
    source, _ = page(run)
    assert (
        "50 steps, 40,000 of 50,000 tokens" in source and "tokens planned" in source and "steps planned" not in source
    )


def test_no_text_becomes_markup_and_nothing_is_fetched(run: Path) -> None:
    source, found = page(run)
    assert found.tags.keys() <= TAGS and not found.handlers and found.links == ["data:,"]
    assert "default-src 'none'" in source and not set(source) & {"\u202e"}
    assert found.shown.count("<script>alert(1)</script> ⟨U+202E⟩") >= 20
    assert "url(" not in source and "@import" not in source


def test_the_curves_are_drawn_with_their_gaps_and_marks(run: Path) -> None:
    source, found = page(run)
    # losses twice (wide and narrow): raw in two pieces around the skipped step, smooth, val, EMA; four small charts
    assert found.tags["svg"] == 6 and found.tags["polyline"] == 2 * 5 + 1 + 2 + 1 + 1
    assert source.count('class="halt"') == 2 * 6 and "resumed after step 20" in source
    assert "validation of the EMA, step 50: 4.25" in source and "spike, step 33: 9.5" in source
    assert "nan" not in source and "inf" not in source.replace("inference", "")


def test_samples_show_the_first_and_the_last_and_fold_the_rest(run: Path) -> None:
    source, found = page(run)
    assert "A document from its beginning" in found.shown
    shown, folded = source.split("What it wrote")[1].split("<details>", 1)
    assert shown.count('class="sample"') == 6 and "at 1</div>" in shown and "at 29</div>" in shown
    assert folded.split("</details>")[0].count('class="sample"') == 15 - 6


def test_an_empty_or_damaged_run_makes_a_page(tmp_path: Path) -> None:
    assert "Nothing is logged yet." in Page(render(RunFiles.read(tmp_path))).shown
    for name in ("metrics.jsonl", "samples.jsonl", "spikes.jsonl", "history.jsonl"):
        (tmp_path / name).write_bytes(b'{"step": 3}\n\xff\xfe nonsense\n{"half')
    found = Page(render(RunFiles.read(tmp_path)))
    assert "What it wrote" not in found.shown and found.tags.get("svg", 0) == 0


def test_many_rows_make_a_small_page(tmp_path: Path) -> None:
    row = {"tokens": 5, "lr": 1e-3, "grad_norm": 1.0, "tokens_per_second": 10.0}
    write(tmp_path / "metrics.jsonl", [{"step": n + 1, "loss": 3 + (n % 10), **row} for n in range(30_000)])
    assert len(write_report(tmp_path).read_bytes()) < 150_000


def test_the_command_draws_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0
    assert (run / "training_history.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.strip().endswith("report.html") and (run / "report.html").exists()


def test_the_command_wants_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no metrics\.jsonl there"):
        main([str(tmp_path)])


def test_a_real_run_has_its_page(command: Any) -> None:
    done = command.call("--report", "true", "--sample_prompts", "the cat", "--sample_tokens", "5")
    assert done.returncode == 0, done.stderr
    found = Page((command.directory / "out" / "report.html").read_text())
    assert "Training run · finished" in found.shown and "“the cat”" in found.shown and "12 steps" in found.shown
    assert command.call("--overwrite", "--max_steps", "2").returncode == 0
    assert not (command.directory / "out" / "report.html").exists()  # the setting of these tests: no report
