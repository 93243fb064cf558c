"""The learning rate of every schedule, at every step, against formulas written from their definitions alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.config import load_config
from training.config import TrainFlags, TrainingConfig
from training.optimization.run_length import RunLength, run_length
from training.optimization.schedule import learning_rate
from training.state import RunState

PEAK, LOW, WARMUP, TOTAL = 0.02, 0.003, 7, 101
LAST = TOTAL - 1


def config(**values: object) -> TrainingConfig:
    return TrainingConfig(**{"learning_rate": PEAK, "warmup_steps": WARMUP, "min_learning_rate": LOW, **values})


def rates(total: int, settings: TrainingConfig) -> list[float]:
    """What a run of `total` steps is given, step by step."""
    length = RunLength("steps", total, 1, settings.warmup_steps or 0, settings.warmup_ratio)
    return [rate(length, RunState(step=step), settings) for step in range(total)]


def rate(length: RunLength, state: RunState, settings: TrainingConfig) -> float:
    """What the step after `state` is given."""
    return learning_rate(length.warmed(state), length.progress(state), settings)


def cosine(step: int) -> float:
    """Half a period of a cosine: mean plus amplitude times the cosine of the angle in degrees."""
    angle = 180.0 * (step - WARMUP) / (LAST - WARMUP)
    return (PEAK + LOW) / 2 + (PEAK - LOW) / 2 * math.cos(math.radians(angle))


def linear(step: int) -> float:
    """The line through (end of warmup, peak) and (last step, low)."""
    return PEAK + (step - WARMUP) * (LOW - PEAK) / (LAST - WARMUP)


def cubic(step: int) -> float:
    return LOW + (PEAK - LOW) * ((LAST - step) / (LAST - WARMUP)) ** 3


def stable_then_line(step: int) -> float:
    """wsd: the fall takes the last 30 % of the 93 steps after the warmup."""
    start = LAST - 0.3 * (LAST - WARMUP)
    return PEAK if step <= start else PEAK + (step - start) * (LOW - PEAK) / (LAST - start)


def stable_then_root(step: int) -> float:
    start = LAST - 0.3 * (LAST - WARMUP)
    return PEAK if step <= start else LOW + (PEAK - LOW) * (1 - ((step - start) / (LAST - start)) ** 0.5)


FORMULAS: list[tuple[dict[str, Any], Callable[[int], float]]] = [
    ({"lr_scheduler": "cosine"}, cosine),
    ({"lr_scheduler": "linear"}, linear),
    ({"lr_scheduler": "polynomial", "lr_power": 3}, cubic),
    ({"lr_scheduler": "polynomial", "lr_power": 1}, linear),
    ({"lr_scheduler": "wsd", "decay_fraction": 0.3, "decay_shape": "linear"}, stable_then_line),
    ({"lr_scheduler": "wsd", "decay_fraction": 0.3}, stable_then_root),
    ({"lr_scheduler": "wsd", "decay_fraction": 1, "decay_shape": "linear"}, linear),
    ({"lr_scheduler": "constant"}, lambda step: PEAK),
]


@pytest.mark.parametrize(("settings", "formula"), FORMULAS, ids=lambda value: "-".join(map(str, value.values()))
                         if isinstance(value, dict) else "")  # fmt: skip
def test_every_step_of_every_schedule(settings: dict[str, Any], formula: Callable[[int], float]) -> None:
    expected = [PEAK * (step + 1) / WARMUP for step in range(WARMUP)] + [formula(s) for s in range(WARMUP, TOTAL)]
    assert rates(TOTAL, config(**settings)) == pytest.approx(expected, rel=1e-12)


def test_the_same_rates_as_transformers() -> None:
    """Its warmup starts at zero, ours at the first part, and its fall ends after the last step, ours with it:
    step k of ours is step k + 1 of its warmup, and step k of its fall in a run one step shorter."""
    torch = pytest.importorskip("torch")
    optimization = pytest.importorskip("transformers.optimization")

    def theirs(kind: str, total: int, **more: Any) -> list[float]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
        schedule = getattr(optimization, f"get_{kind}_schedule_with_warmup")(optimizer, WARMUP, total, **more)
        found = []
        for _ in range(total + 1):
            found.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            schedule.step()
        return found

    none = {"min_learning_rate": 0.0}
    for kind, more, ours in (
        ("cosine", {}, config(lr_scheduler="cosine", **none)),
        ("linear", {}, config(lr_scheduler="linear", **none)),
        ("polynomial_decay", {"power": 2.0, "lr_end": LOW}, config(lr_scheduler="polynomial", lr_power=2)),
    ):
        expected, found = theirs(kind, LAST, **more), rates(TOTAL, ours)
        assert found[WARMUP:] == pytest.approx(expected[WARMUP:], rel=1e-9, abs=1e-12), kind
        assert found[: WARMUP - 1] == pytest.approx(expected[1:WARMUP], rel=1e-9), kind


def test_the_lowest_rate_is_a_tenth_of_the_peak_unless_told() -> None:
    assert rates(TOTAL, config(min_learning_rate=None))[-1] == pytest.approx(PEAK / 10)


def test_ends_are_exact_and_the_fall_never_rises() -> None:
    for settings, _ in FORMULAS[:-1]:
        found = rates(TOTAL, config(**settings))
        assert found[-1] == LOW and found[WARMUP - 1] == PEAK
        assert all(later <= earlier for earlier, later in itertools.pairwise(found[WARMUP - 1 :]))


@pytest.mark.parametrize("total", [1, 2, 7, 8])
def test_a_run_shorter_than_its_warmup_has_rates(total: int) -> None:
    assert all(0 < rate <= PEAK for rate in rates(total, config()))
    assert rates(1, config(warmup_steps=0)) == [PEAK]


def test_a_run_measured_in_tokens_has_the_rates_of_the_same_run_in_steps() -> None:
    """33 predicted tokens a step: 3,300 and one more take 101 steps."""
    settings = config(max_tokens=3301)
    length = run_length(settings, RunState(), 10**6, global_batch=3, sequence_length=11, tokens_a_row=11.0)
    assert length.steps(RunState()) == TOTAL
    found, state = [], RunState()
    while not length.finished(state):
        found.append(rate(length, state, settings))
        state.step, state.tokens = state.step + 1, state.tokens + 33
    assert found == pytest.approx(rates(TOTAL, config()), rel=1e-12)
    assert length.steps(RunState(step=101, tokens=2970)) == 112, "fewer tokens a step: 331 are left, 11 more steps"
    assert length.steps_in_words(RunState()) == "101"


def test_padding_makes_more_steps_of_as_many_tokens_and_leaves_the_rates() -> None:
    settings = config(max_tokens=3300)
    full, padded = (run_length(settings, RunState(), 10**6, 3, 11, row) for row in (11.0, 5.5))
    assert (full.steps(RunState()), padded.steps(RunState())) == (100, 200)
    assert padded.steps_in_words(RunState(step=100, tokens=1650)) == "about 200"
    states = [RunState(step=step, tokens=16 * step) for step in range(200)]
    assert [padded.progress(state) for state in states] == [full.progress(state) for state in states]


def test_a_time_budget_falls_with_the_clock_and_only_what_is_left_counts() -> None:
    settings = config(time_budget="2m", lr_scheduler="linear", warmup_steps=2)
    length = run_length(settings, RunState(), 10**6, 3, 11, 11.0)
    assert length.steps(RunState()) is None
    for seconds, share in ((0.0, 0.0), (30.0, 0.25), (90.0, 0.75), (119.0, 119 / 120), (500.0, 1.0)):
        state = RunState(step=40, elapsed=seconds)
        assert length.progress(state) == pytest.approx(share), "a checkpoint of before does not know its warmup's time"
        later = RunState(step=40, elapsed=seconds / 2 + 60, warmed_after=60.0)
        assert length.progress(later) == pytest.approx(share), "the fall begins where the warmup ends"
        expected = PEAK + share * (LOW - PEAK)
        assert rate(length, state, settings) == pytest.approx(expected)
        assert length.finished(state) == (seconds >= 120)
    assert rate(length, RunState(elapsed=108), settings) == PEAK / 2, "the warmup counts steps"


def test_a_warmup_by_ratio_is_the_warmup_of_as_many_steps() -> None:
    """Also where the steps that it takes are no whole number, it ends at that share of the run."""
    settings = config(warmup_steps=None, warmup_ratio=WARMUP / TOTAL)
    assert rates(TOTAL, settings) == pytest.approx(rates(TOTAL, config()), rel=1e-12)
    found = rates(10, config(warmup_steps=None, warmup_ratio=0.25, lr_scheduler="linear", min_learning_rate=0))
    assert found == pytest.approx([PEAK * share for share in (0.4, 0.8, 1, *((9 - s) / 6.5 for s in range(3, 10)))])


def test_a_warmup_by_ratio_of_a_run_in_tokens_counts_the_tokens_that_were_read() -> None:
    """33 tokens a step at most, 3,300 in all; half of the places are padding, and the warmup still ends with 330."""
    settings = config(max_tokens=3300, warmup_steps=None, warmup_ratio=0.1)
    length = run_length(settings, RunState(), 10**6, global_batch=3, sequence_length=11, tokens_a_row=11.0)
    states = [RunState(step=step, tokens=16 * step) for step in range(40)]
    shares = [rate(length, state, settings) / PEAK for state in states]
    assert shares[0] == pytest.approx(0.1) and shares[10] == pytest.approx((160 + 33) / 330)
    assert [share < 1 for share in shares[17:24]] == [True, True, False, False, True, True, True], "a rise, then a fall"
    assert states[20].tokens < 330 < states[21].tokens


def test_a_warmup_by_ratio_of_a_time_budget_rises_with_the_clock() -> None:
    settings = config(time_budget="100s", lr_scheduler="linear", min_learning_rate=0, warmup_steps=None,
                      warmup_ratio=0.2)  # fmt: skip
    length = run_length(settings, RunState(), 10**6, 3, 11, 11.0)
    expected = {0.0: 0.01, 5.0: 0.25, 19.0: 0.95, 20.0: 1.0, 60.0: 0.5, 100.0: 0.0}
    for seconds, share in expected.items():
        state = RunState(step=3, elapsed=seconds)
        assert rate(length, state, settings) == pytest.approx(PEAK * share), seconds
        assert length.progress(state) == pytest.approx((seconds - 20) / 80), "straight, for the time that is left"


def test_a_warmup_is_told_in_one_way(tmp_path: Path) -> None:
    """The command line's replaces the file's; a ratio leaves out the default of the steps."""
    file = tmp_path / "settings.yaml"

    def warmup(text: str, *argv: str) -> tuple[int | None, float | None]:
        file.write_text(f"training: {{{text}}}\n")
        argv = ("--config", str(file), *argv)
        loaded = load_config("train.py", "", {"training": TrainingConfig}, TrainFlags, argv).get(TrainingConfig)
        assert not loaded.problems()
        return loaded.warmup_steps, loaded.warmup_ratio

    assert warmup("") == (30, None)
    assert warmup("warmup_ratio: 0.1") == warmup("", "--warmup_ratio", "0.1") == (None, 0.1)
    assert warmup("warmup_steps: 9", "--warmup_ratio", "0.1") == (None, 0.1)
    assert warmup("warmup_ratio: 0.1", "--warmup_iters", "9") == (9, None)
    assert warmup("warmup_steps: 9", "--grad_clip", "1") == (9, None)
    [problem] = config(warmup_steps=9, warmup_ratio=0.1).problems()
    assert "warmup_steps 9 and warmup_ratio 0.1" in problem and "null" in problem
    assert rates(1, config(warmup_steps=None)) == [PEAK], "without either there is none"


def test_epochs_end_with_the_step_that_completes_them() -> None:
    length = run_length(config(epochs=1.5), RunState(), 100, global_batch=7, sequence_length=11, tokens_a_row=11.0)
    assert length.steps(RunState()) == 22 and length.end == 22  # 150 samples, 7 a step
    resumed = run_length(config(epochs=2), RunState(step=22, sample=154), 100, 7, 11, 11.0)
    assert resumed.end == 22 + 7  # 46 samples are left


def test_lengths_that_contradict_each_other_are_named() -> None:
    problems = config(max_steps=5, time_budget="1h").problems()
    assert len(problems) == 1 and "max_steps" in problems[0] and "--time_budget null" in problems[0]
    assert not config(max_steps=5, epochs=3).problems()


def test_the_names_that_others_use_mean_the_same(tmp_path: Path) -> None:
    """--lr, --min_lr and --warmup_iters on the command line, min_lr and warmup_iters in the file."""

    def loaded(*argv: str) -> TrainingConfig:
        return load_config("train.py", "", {"training": TrainingConfig}, TrainFlags, argv).get(TrainingConfig)

    flags = loaded("--lr", "0.5", "--min-lr", "0.25", "--warmup_iters", "9", "--weight_decay", "0")
    assert (flags.learning_rate, flags.min_learning_rate, flags.warmup_steps) == (0.5, 0.25, 9)
    file = tmp_path / "settings.yaml"
    file.write_text("training: {min_lr: 0.0001, warmup_iters: 11}\n")
    settings = loaded("--config", str(file))
    assert (settings.min_learning_rate, settings.warmup_steps) == (0.0001, 11)
