"""Elements of an inline SVG drawing: text stays text, so that the browser's fonts draw every script."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.page.wording import escape


class Drawing:
    """Collects elements in drawing order; coordinates in pixels of the view box, y down."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._head = (
            f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
            f'style="max-width:{width * 1.25:g}px">'
        )
        self._elements: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, kind: str, hint: str = "") -> None:
        """A rectangle of the style class `kind`; `hint` shows when the pointer rests on it."""
        body = f"<title>{escape(hint)}</title></rect>" if hint else "</rect>"
        self._elements.append(
            f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{max(0.0, width):.2f}" '
            f'height="{max(0.0, height):.2f}">{body}'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._elements.append(f'<line class="{kind}" x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"/>')

    def polyline(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through `points`."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._elements.append(f'<polyline class="{kind}" points="{path}"/>')

    def dot(self, x: float, y: float, radius: float, kind: str, hint: str = "") -> None:
        """A filled circle."""
        body = f"<title>{escape(hint)}</title>" if hint else ""
        self._elements.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{body}</circle>')

    def band(self, x1: float, x2: float, left: tuple[float, float], right: tuple[float, float], kind: str) -> None:
        """A flow from the upright edge `left` (top, bottom) at x1 to the edge `right` at x2, in smooth curves."""
        middle = (x1 + x2) / 2
        self._elements.append(
            f'<path class="{kind}" d="M{x1:.1f},{left[0]:.2f} C{middle:.1f},{left[0]:.2f} {middle:.1f},{right[0]:.2f} '
            f"{x2:.1f},{right[0]:.2f} L{x2:.1f},{right[1]:.2f} C{middle:.1f},{right[1]:.2f} "
            f'{middle:.1f},{left[1]:.2f} {x1:.1f},{left[1]:.2f} Z"/>'
        )

    def text(self, x: float, y: float, text: str, kind: str = "label", anchor: str = "start") -> None:
        """Text whose base line starts (or has its middle, or ends) at (x, y)."""
        self._elements.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def render(self) -> str:
        """The `<svg>` element."""
        return self._head + "".join(self._elements) + "</svg>"


def powers_of_ten(low: float, high: float) -> list[float]:
    """All powers of ten in [low, high]."""
    found, value = [], 1.0
    while value <= high:
        if value >= low:
            found.append(value)
        value *= 10
    return found


def round_steps(high: float, count: int = 5) -> list[float]:
    """At most `count` + 1 round values from 0 up to `high`, evenly spaced (1, 2 or 5 times a power of ten)."""
    step = 1.0
    while step * count < high:
        step *= 2.5 if f"{step:e}"[0] == "2" else 2
    return [step * n for n in range(int(high // step) + 1)]
