"""What each logger makes of rows, events and samples."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import threading
from pathlib import Path

import pytest

from training.loggers import Logger
from training.loggers.fan_out import Loggers
from training.loggers.history_plot import draw_run, smooth
from training.loggers.json_lines import JsonLines, read_lines
from training.loggers.progress import Progress
from training.loggers.redrawn import Redrawn

ROW = {
    "step": 3,
    "tokens": 90,
    "loss": 2.5,
    "lr": 1e-3,
    "grad_norm": 0.7,
    "tokens_per_second": 1234.0,
    "progress": 0.25,
}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What is logged, whatever the commands did to the project's logger."""
    monkeypatch.setattr(logging.getLogger("mateconv"), "propagate", True)
    caplog.set_level(logging.INFO, "mateconv")
    return caplog


def test_json_lines_hold_no_number_that_json_lacks(tmp_path: Path) -> None:
    file = JsonLines(tmp_path / "a.jsonl")
    file.write({"step": 1, "loss": float("nan"), "inner": {"x": [float("inf"), 2.0]}, "text": "人之初\u2028"})
    file.close()
    with (tmp_path / "a.jsonl").open("a") as more:
        more.write('no json\n[1]\n{"step": 2')
    assert read_lines(tmp_path / "a.jsonl") == [
        {"step": 1, "loss": None, "inner": {"x": [None, 2.0]}, "text": "人之初\u2028"}
    ]
    assert read_lines(tmp_path / "missing") == []


def test_the_line_says_loss_validation_speed_share_and_time_left(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("training.loggers.progress.time.monotonic", lambda: now[0])
    progress = Progress(2, 5)
    now[0] += 10
    progress.log({**ROW, "val_loss": 2.25, "val_loss_ema": 2.125, "mfu": 0.4321})
    progress.close()
    [line] = lines.messages
    assert "step 3/5  loss 2.5000  val 2.2500 (EMA 2.1250)  lr 1.00e-03  grad 0.70  1,234 tok/s, MFU 43.2%" in line
    assert line.endswith("00:20 left")  # ten seconds for one step of three


def test_the_line_says_what_a_loss_is_made_of_and_the_accuracy(lines: pytest.LogCaptureFixture) -> None:
    progress = Progress(2, 5)
    parts = {"mlm_loss": 1.75, "nsp_loss": 0.75, "val_loss": 2.25, "val_mlm_loss": 1.625, "val_nsp_loss": 0.625}
    progress.log({**ROW, **parts, "val_nsp_accuracy": 0.8125, "val_nsp_accuracy_ema": 0.5})
    progress.close()
    assert (
        "loss 2.5000 (mlm 1.7500, nsp 0.7500)  val 2.2500 (mlm 1.6250, nsp 0.6250)  nsp accuracy 81.25%  lr"
        in (lines.messages[0])
    )


def test_a_time_budget_has_its_time_left(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("training.loggers.progress.time.monotonic", lambda: now[0])
    progress = Progress(7, None, seconds_left=70.0)
    progress.log({**ROW, "val_loss": 2.0})
    now[0] = 130.0
    progress.log({**ROW, "step": 9, "progress": 0.5, "val_loss": 2.0})
    progress.close()
    assert lines.messages[0].endswith("01:10 left") and lines.messages[1].endswith("00:40 left")
    assert lines.messages[1].startswith("step 9  ")


def test_a_run_of_tokens_has_its_time_left_by_tokens(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("training.loggers.progress.time.monotonic", lambda: now[0])
    progress = Progress(1000, 5000, "tokens")
    now[0] += 10
    progress.log({**ROW, "step": 61, "tokens": 2000, "val_loss": 2.0})
    progress.close()
    assert lines.messages[0].startswith("step 61 (2,000/5,000 tokens)  loss") and "00:30 left" in lines.messages[0]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = Progress(2, 5)
    progress.advance(51)
    progress.log({**ROW, "mfu": 0.5})
    progress.close()
    shown = screen.getvalue()
    assert "3/5" in shown and "loss 2.5000, lr 1.00e-03, 1,234 tok/s, MFU 50.0%" in shown
    progress = Progress(1000, 5000, "tokens")
    progress.advance(1500)
    progress.log(ROW)
    progress.close()
    assert "2.50k/5.00k" in screen.getvalue()
    progress = Progress(4000, 5000, "tokens")
    progress.advance(1500)
    progress.log(ROW)
    progress.close()
    assert "5.00k/5.00k" in screen.getvalue(), (
        "the last step goes beyond the tokens, and the bar has an end all the same"
    )


def test_samples_are_shown_on_one_line_and_cannot_reorder_it(lines: pytest.LogCaptureFixture) -> None:
    progress = Progress(0, 5)
    progress.show(3, [{"prompt": "once\nupon", "text": " a\ttime \u202e" + "x" * 500}])
    progress.close()
    [line] = lines.messages
    assert line.startswith("  sample: once upon → a time ⟨U+202E⟩xxx") and line.endswith("…") and len(line) < 180


def test_a_drawing_never_holds_up_a_save_and_its_failure_is_a_warning(
    tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    drawn = []

    def draw() -> None:
        begun.set()
        assert may_end.wait(200)
        drawn.append(threading.current_thread().name)
        raise ValueError("no paint")

    logger = Redrawn(tmp_path / "x.png", draw, seconds=0)
    logger.save()
    assert begun.wait(200)
    logger.save()  # one is being drawn: nothing to do, and nothing to wait for
    may_end.set()
    logger.close()
    assert drawn == ["draw", "MainThread"]
    assert [message for message in lines.messages if "no paint" in message and "x.png" in message]


def test_it_draws_at_most_once_a_minute(tmp_path: Path) -> None:
    drawn: list[int] = []
    logger = Redrawn(tmp_path / "x.png", lambda: drawn.append(1))
    logger.save()
    assert not drawn
    logger.close()
    assert drawn == [1]


def test_slow_drawings_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, drawn = [0.0], []
    monkeypatch.setattr("training.loggers.redrawn.time.monotonic", lambda: now[0])

    def draw() -> None:
        now[0] += 5
        drawn.append(now[0])

    def save_at(moment: float) -> int:
        now[0] = moment
        logger.save()
        if logger._thread is not None:
            logger._thread.join()
        return len(drawn)

    logger = Redrawn(tmp_path / "x.png", draw)
    assert [save_at(59), save_at(60), save_at(125), save_at(159), save_at(160)] == [0, 1, 1, 1, 2]  # 20 x 5 seconds


def test_every_logger_is_closed_whatever_the_others_do() -> None:
    class Broken(Logger):
        def close(self) -> None:
            raise OSError("disk")

    class Fine(Logger):
        closed = False

        def close(self) -> None:
            self.closed = True

    fine = Fine()
    with pytest.raises(OSError, match="disk"):
        Loggers([Broken(), fine]).close()
    assert fine.closed


def test_smoothing_follows_a_fast_fall_and_evens_out_noise() -> None:
    import numpy as np

    steps = np.arange(1, 501)
    noise = np.random.default_rng(1).normal(0, 0.2, 500)
    loss = 3 + 7 * np.exp(-steps / 40)
    even = smooth(loss + noise, 50)
    assert np.abs(even - loss)[:100].mean() < 0.35 and np.abs(even - loss)[400:].mean() < 0.06
    holes = loss.copy()
    holes[7] = np.nan
    assert np.isfinite(smooth(holes, 50)).all()


def test_the_picture_has_the_average_and_the_spikes(tmp_path: Path) -> None:
    import matplotlib.image
    import numpy as np

    rows = [
        {"step": n, "tokens": n, "loss": 5 / n, "lr": 1e-3, "grad_norm": None if n == 5 else 1.0 / n, "skipped": n == 5}
        for n in range(1, 40)
    ]
    rows += [{**rows[-1], "step": 40 + n, "val_loss": 2.0, "val_loss_ema": 1.9 - n / 100} for n in range(5)]

    def colours(name: str) -> int:
        image = matplotlib.image.imread(tmp_path / "training_history.png")[..., :3]
        wanted = np.array([int(name[place : place + 2], 16) / 255 for place in (1, 3, 5)])
        return int((np.abs(image - wanted).max(axis=-1) < 0.03).sum())

    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:39]))
    draw_run(tmp_path)
    without = colours("#2a8c6a"), colours("#d6942a")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "spikes.jsonl").write_text('{"event": "spike", "step": 7, "loss": 4.0, "expected": 0.7}\n')
    draw_run(tmp_path)
    assert without[0] == 0 and colours("#2a8c6a") > 50  # the EMA's curve
    assert colours("#d6942a") > without[1] + 20  # the spike's mark, beside that of the skipped step


@pytest.mark.parametrize(
    "task, unit", [(None, "token"), ("chat", "token"), ("classify", "document"), ("mlm_nsp", "two")]
)
def test_the_picture_shows_a_whole_overfitting_run_in_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str | None, unit: str
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    monkeypatch.setattr("training.loggers.history_plot.atomic.atomic_path", contextlib.nullcontext)
    rows = [
        {"step": n, "tokens": n, "loss": max(0.05, 6 - n / 20), "lr": 1e-3, "grad_norm": 1.0} for n in range(1, 201)
    ]
    for row in rows[9::10]:
        row |= {"val_loss": 9.0 if row["step"] == 10 else 0.01 if row["step"] == 20 else 3 + row["step"] / 40}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if task:
        (tmp_path / "history.jsonl").write_text(json.dumps({"event": "started", "task": task}) + "\n")
    draw_run(tmp_path)
    losses = drawn[0].axes[0]
    low, high = losses.get_ylim()
    assert low < 0.01 and 8.0 < high < 9.0, "the first steps decide nothing, those of the validation neither"
    assert unit in losses.get_ylabel()
