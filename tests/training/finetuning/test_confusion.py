"""The picture of a confusion matrix, as pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from training.finetuning.confusion import _shown, draw_confusion


def darkness(path: Path) -> np.ndarray:
    """How blue the pixels are, (height, width)."""
    pixels = imread(path)[..., :3]
    return np.asarray(pixels[..., 2] - pixels[..., 0])


def test_what_is_right_lies_dark_on_the_diagonal(tmp_path: Path) -> None:
    right, wrong = np.diag([40, 30]), np.diag([40, 30])[:, ::-1]
    draw_confusion(tmp_path / "right.png", right, ["no", "yes"], "test")
    draw_confusion(tmp_path / "wrong.png", wrong, ["no", "yes"], "test")
    one, other = darkness(tmp_path / "right.png"), darkness(tmp_path / "wrong.png")
    height, width = one.shape
    upper_left = (slice(height // 4, height // 2), slice(width * 2 // 5, width // 2))
    assert one[upper_left].mean() > 0.3 > 0.1 > other[upper_left].mean()


@pytest.mark.parametrize("classes", [2, 11, 33, 70])
def test_any_number_of_classes_and_any_names(tmp_path: Path, classes: int) -> None:
    odd = ["$x$", "", "a_b", "电影", "a very long name of a class indeed", "100%"]
    names = (odd + [f"class {number}" for number in range(classes)])[:classes]
    matrix = np.random.default_rng(0).integers(0, 9, (classes, classes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # glyphs that no font has, layouts that do not fit
        draw_confusion(tmp_path / "picture.png", matrix, names, "test $plit")
    assert darkness(tmp_path / "picture.png").max() > 0.3
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_names_are_shortened_and_those_that_cannot_be_written_are_numbers() -> None:
    assert _shown("电影", 7, wide=False) == "7" and _shown("电影", 7, wide=True) == "电影"
    assert _shown("a" * 30, 0, wide=False) == "a" * 23 + "…"
    assert _shown("$", 0, wide=False) == r"\$" and _shown(" ", 3, wide=False) == "3"
