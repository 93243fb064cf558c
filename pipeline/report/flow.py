"""The way of the records as a flow drawing: read -> kept, rejected, duplicate, quarantined -> splits and reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

from foundation.page.svg import Drawing
from foundation.page.wording import clip, integer, percent

WIDTH = 960
NODE = 12
LEFT, MIDDLE, RIGHT = 120, 430, 690
ROW = 22
GAP = 14
SPAN = 260
"""Pixels that all records together are high."""


@dataclass(frozen=True)
class Branch:
    """One outcome: its name (also its style class), how many records, and what it is made of."""

    name: str
    label: str
    records: int
    parts: list[tuple[str, int]] = field(default_factory=list)


def draw_flow(total: int, branches: list[Branch]) -> str:
    """The drawing as SVG. `branches` sum to `total`; those without records are left out."""
    branches = [branch for branch in branches if branch.records]
    thick = {branch.name: max(2.0, SPAN * branch.records / total) for branch in branches}
    slots = [max(thick[branch.name], sum(_slot(n, total) for _, n in branch.parts), ROW) for branch in branches]
    height = sum(slots) + GAP * (len(slots) - 1) + 16
    drawing = Drawing(WIDTH, height, "What became of the records")
    source_height = sum(thick.values())
    source = max(8.0, (height - source_height) / 4)
    drawing.rect(LEFT, source, NODE, source_height, "node read")
    drawing.text(LEFT - 10, source + source_height / 2 - 2, integer(total), "strong", "end")
    drawing.text(LEFT - 10, source + source_height / 2 + 15, "records read", "label", "end")
    top = 8.0
    for branch, slot in zip(branches, slots, strict=True):
        high = thick[branch.name]
        y = top + (slot - high) / 2
        drawing.band(LEFT + NODE, MIDDLE, (source, source + high), (y, y + high), f"band {branch.name}")
        drawing.rect(MIDDLE, y, NODE, high, f"node {branch.name}", f"{branch.label}: {integer(branch.records)}")
        _draw_parts(drawing, branch, total, (top, slot), (y, high))
        share = percent(branch.records, total)
        drawing.text(
            MIDDLE - 10, y + high / 2 + 5, f"{branch.label} {integer(branch.records)} · {share}", "halo", "end"
        )
        source += high
        top += slot + GAP
    return drawing.render()


def _slot(records: int, total: int) -> float:
    return max(float(ROW), SPAN * records / total)


def _draw_parts(
    drawing: Drawing, branch: Branch, total: int, slot: tuple[float, float], node: tuple[float, float]
) -> None:
    """The right column of one branch; `slot` is its place there and `node` that of its node, as top and height."""
    place = slot[0] + (slot[1] - sum(_slot(n, total) for _, n in branch.parts)) / 2
    y, thick = node
    for label, records in branch.parts:
        high = max(1.5, SPAN * records / total)
        room = _slot(records, total)
        at = place + (room - high) / 2
        left = thick * records / branch.records
        drawing.band(MIDDLE + NODE, RIGHT, (y, y + left), (at, at + high), f"band {branch.name}")
        drawing.rect(RIGHT, at, NODE, high, f"node {branch.name}", f"{label}: {integer(records)}")
        drawing.text(RIGHT + NODE + 10, place + room / 2 + 5, f"{clip(label, 26)}  {integer(records)}")
        y += left
        place += room


def largest(parts: dict[str, int], limit: int, noun: str) -> list[tuple[str, int]]:
    """The `limit` largest entries, and the rest as one that says how many it stands for."""
    ordered = sorted(((k, v) for k, v in parts.items() if v), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= limit + 1:
        return ordered
    rest = ordered[limit:]
    return [*ordered[:limit], (f"{len(rest)} other {noun}", sum(v for _, v in rest))]
