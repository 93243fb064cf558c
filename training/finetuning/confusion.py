"""The picture of a confusion matrix: how many documents of each class are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation import atomic
from training.finetuning.metrics import Counts, summary

WITH_NUMBERS = 20
"""Classes up to which each field shows its count."""
WITH_NAMES = 60
"""Classes up to which names stand along the axes."""
LONGEST_NAME = 24
WIDE = 0x2E80
"""From this character on, matplotlib's own font has next to nothing."""
WIDE_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "SimHei")


def draw_confusion(path: Path, matrix: Counts, names: Sequence[str], title: str) -> None:
    """Write the picture of `matrix` (L, L), rows the true and columns the predicted classes, to the PNG file `path`.

    Colours are shares of a row, so that rare classes show as clearly as common ones; numbers are counts.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and no window is ever opened
    from matplotlib.figure import Figure

    classes = len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(14.0, max(4.0, 2.4 + 0.5 * classes))
    figure = Figure(figsize=(side + 1.6, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    known = summary(matrix)
    facts = f"{matrix.sum():,} documents, accuracy {known['accuracy']:.2%}, macro F1 {known['f1_macro']:.3f}"
    axes.set_title(f"{_literal(title)}\n{facts}", fontsize=10)
    axes.set(xlabel="predicted", ylabel="true")
    if classes <= WITH_NAMES:
        _name_axes(axes, names)
    if classes <= WITH_NUMBERS:
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.55 else "#222222"
            size = 12 if classes <= 5 else 8
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=size)
    with atomic.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _name_axes(axes: Any, names: Sequence[str]) -> None:
    fonts = _fonts(names)
    shown = [_shown(name, number, wide=len(fonts) > 1) for number, name in enumerate(names)]
    options: dict[str, Any] = {"fontsize": 10 if len(names) <= WITH_NUMBERS else 8, "family": fonts}
    slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), shown, **options, **(slant if max(map(len, shown)) > 8 else {}))
    axes.set_yticks(range(len(names)), shown, **options)


def _shown(name: str, number: int, wide: bool) -> str:
    """A class's name as the axis shows it; its number where no font has the characters."""
    if not name.strip() or (not wide and any(ord(character) >= WIDE for character in name)):
        return str(number)
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return _literal(" ".join(short.split()))


def _fonts(names: Sequence[str]) -> list[str]:
    """Families to write `names` with: one more than matplotlib's own where they need it and the machine has it."""
    own = "DejaVu Sans"
    if all(ord(character) < WIDE for name in names for character in name):
        return [own]
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return [own, *[family for family in WIDE_FONTS if family in there][:1]]


def _literal(text: str) -> str:
    """`text` without what matplotlib takes for formulas."""
    return text.replace("$", r"\$")
