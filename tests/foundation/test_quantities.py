"""Counts, sizes and durations: what their text means, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from .small_command import Training, load, problems

pytestmark = pytest.mark.usefixtures("in_a_directory_of_its_own")


@pytest.mark.parametrize(
    ("text", "number"),
    [("500k", 500_000), ("5M", 5_000_000), ("1.5k", 1500), ("2b", 2 * 10**9), ("1e3", 1000), ("7", 7), (" 3 k", 3000)],
)
def test_counts(text: str, number: int):
    assert load(f"--max_steps={text}").get(Training).max_steps == number


def test_whole_numbers_are_exact_beyond_floats():
    assert load("--max_steps", str(2**53 + 1)).get(Training).max_steps == 2**53 + 1


_POWERS = {"k": 3, "M": 6, "B": 9, "T": 12}


@pytest.mark.parametrize(("unit", "power"), _POWERS.items())
@given(whole=st.integers(0, 10**7), decimals=st.text("0123456789", min_size=1, max_size=12))
@example(whole=4, decimals="1")  # as floats 4099999.9999999995, 4100000000.0000005 and so on
@example(whole=0, decimals="3")
def test_decimals_times_a_unit_are_exact(unit: str, power: int, whole: int, decimals: str):
    product, rest = divmod(int(f"{whole}{decimals}") * 10**power, 10 ** len(decimals))
    text = f"{whole}.{decimals}{unit}"
    if rest:
        with pytest.raises(ValidationError):
            Training.model_validate({"max_steps": text})
    else:
        size = f"{whole}.{decimals}{unit.replace('B', 'G')}B"
        made = Training.model_validate({"max_steps": text, "memory": size})
        assert (made.max_steps, made.memory) == (product, product)


def test_decimals_of_binary_units_and_durations():
    made = Training.model_validate({"memory": "4.125GiB", "patience": "4.1h"})
    assert (made.memory, made.patience) == (4 * 2**30 + 2**27, 14760.0)
    with pytest.raises(ValidationError, match="not a whole number"):
        Training.model_validate({"memory": "4.1GiB"})


@pytest.mark.parametrize(
    ("text", "number"),
    [("24GB", 24 * 10**9), ("64MB", 64 * 10**6), ("1KiB", 1024), ("3 GiB", 3 * 2**30), ("17", 17), ("8kB", 8000)],
)
def test_sizes(text: str, number: int):
    assert load("--memory", text).get(Training).memory == number


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800.0), ("2h", 7200.0), ("1.5min", 90.0), ("90", 90.0), ("1d", 86400.0)]
)
def test_durations(text: str, seconds: float):
    assert load("--patience", text).get(Training).patience == seconds


@pytest.mark.parametrize(
    ("flag", "text"),
    [("max_steps", "12 parsecs"), ("max_steps", "-5"), ("max_steps", "0.5"), ("max_steps", "1e999"), ("max_steps", ""),
     ("memory", "5XB"), ("patience", "soon"), ("patience", "5k")],
)  # fmt: skip
def test_impossible_quantities_name_the_flag(flag: str, text: str):
    message = problems(f"--{flag}={text}")
    assert message.count("\n") == 1 and f"--{flag}: {flag}: " in message
