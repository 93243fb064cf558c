"""What is measured beside the loss: the parts that it is the sum of, and the values of a classifier's validation."""

from __future__ import annotations

from foundation.page import html
from foundation.page.wording import words
from training.report.charts import Series, small_chart
from training.report.curves import halts, legend, points
from training.report.files import RunFiles

_AVERAGE = "_ema"
_WHOLE = ("loss",)
"""What has a chart of its own."""


def measures(run: RunFiles) -> str:
    """A small chart for each measure, its course in training, in validations and in those of the EMA."""
    return html.pair(*(_chart(run, name) for name in names(run)))


def names(run: RunFiles) -> list[str]:
    """The measures that the rows have, in the order in which they appear."""
    found: dict[str, None] = {}
    for row in run.rows:
        for key in row:
            if key.startswith("val_"):
                found[key.removeprefix("val_").removesuffix(_AVERAGE)] = None
            elif key.endswith("_loss"):
                found[key] = None
    return [name for name in found if name not in _WHOLE]


def _chart(run: RunFiles, name: str) -> str:
    series = [
        Series("training", "train", points(run.rows, name)),
        Series("validation", "val", points(run.rows, f"val_{name}"), dots=True),
        Series("validation of the EMA", "ema", points(run.rows, f"val_{name}{_AVERAGE}"), dots=True),
    ]
    shown = [one for one in series if one.values()]
    title = words(name)
    chart = small_chart(title, shown, halts(run))
    return html.section(title, legend(shown) + chart, "nats" if name.endswith("_loss") else "") if chart else ""
