"""The tables and the curves of `benchmarks.quality`: mean and spread over the seeds, every run by itself."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation.errors import UserError

COLUMNS = ("mean", "deviation", "lowest", "highest")
Groups = dict[tuple[str, str, float], list[dict[str, Any]]]


def read_groups(directory: Path) -> Groups:
    """The finished runs by model, optimizer and learning rate."""
    groups: Groups = {}
    for path in sorted(directory.glob("*.json")):
        result = json.loads(path.read_text())
        if result["finished"]:
            settings = result["settings"]
            groups.setdefault((settings["model"], settings["optimizer"], settings["learning_rate"]), []).append(result)
    if not groups:
        raise UserError(f"{directory}: no finished runs there")
    return groups


def final_losses(results: list[dict[str, Any]]) -> list[float]:
    """The last validation loss of each run."""
    return [result["curve"][-1]["validation"] for result in results]


def print_rows(*rows: Sequence[object]) -> None:
    """A table in Markdown; the first row is its head."""
    head, *rest = rows
    for row in (head, ["---"] * len(head), *rest):
        print("| " + " | ".join(f"{cell:.4f}" if isinstance(cell, float) else f"{cell}" for cell in row) + " |")


def print_table(groups: Groups) -> None:
    """Mean and spread over the seeds at the end, a row for each model, optimizer and learning rate."""
    rows: list[Sequence[object]] = []
    for (model, optimizer, rate), results in sorted(groups.items()):
        losses = final_losses(results)
        deviation = statistics.stdev(losses) if len(losses) > 1 else "-"
        rows.append(
            [model, optimizer, f"{rate:g}", len(losses), statistics.mean(losses), deviation, min(losses), max(losses)]
        )
    print_rows(["model", "optimizer", "rate", "seeds", *COLUMNS], *rows)


def print_runs(groups: Groups) -> None:
    """The validation loss of every run at each point of its curve, by millions of tokens."""
    curves = {
        (*group, run["settings"]["seed"]): {f"{at['tokens'] / 1e6:.1f}": at["validation"] for at in run["curve"]}
        for group, runs in groups.items()
        for run in runs
    }
    places = sorted({place for curve in curves.values() for place in curve}, key=float)
    rows = [
        [model, optimizer, f"{rate:g}", seed, *(curve.get(place, "-") for place in places)]
        for (model, optimizer, rate, seed), curve in sorted(curves.items())
    ]
    print_rows(["model", "optimizer", "rate", "seed", *(f"{place} M" for place in places)], *rows)


def draw(groups: Groups, path: Path) -> None:
    """Validation loss over tokens: for each model and optimizer its best learning rate, the mean over the seeds where
    all of them have a point, with the range between the lowest and the highest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    best: dict[tuple[str, str], float] = {}
    for model, optimizer, rate in sorted(groups, key=lambda group: min(final_losses(groups[group]))):
        best.setdefault((model, optimizer), rate)
    lowest = min(min(final_losses(results)) for results in groups.values())
    for (model, optimizer), rate in sorted(best.items()):
        results = groups[model, optimizer, rate]
        curves = [{point["tokens"]: point["validation"] for point in result["curve"]} for result in results]
        tokens = np.array(sorted(set.intersection(*map(set, curves))))
        losses = np.array([[curve[place] for place in tokens] for curve in curves])
        label = f"{model}, {optimizer} at {rate:g}: {losses[:, -1].mean():.3f}"
        (line,) = axes.plot(tokens / 1e6, losses.mean(axis=0), label=label)
        axes.fill_between(tokens / 1e6, losses.min(axis=0), losses.max(axis=0), color=line.get_color(), alpha=0.25)
    axes.set(xlabel="million tokens", ylabel="validation loss (nats per token)", ylim=(lowest - 0.1, lowest + 2))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Title": "Validation loss over tokens", "Date": None})
    print(path)


def show(directory: Path) -> None:
    """Print the tables, draw `curves.svg` beside the results."""
    groups = read_groups(directory)
    print_table(groups)
    print()
    print_runs(groups)
    print()
    draw(groups, directory / "curves.svg")
