"""Small pieces of HTML that the sections are built of. Every text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foundation.page.wording import escape


def section(title: str, body: str, note: str = "") -> str:
    """A card with a heading; nothing when the body is empty."""
    if not body:
        return ""
    comment = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{comment}{body}</section>"


def pair(*sections: str) -> str:
    """Sections side by side where there is room; empty ones are left out."""
    filled = [text for text in sections if text]
    return f'<div class="pair">{"".join(filled)}</div>' if filled else ""


def tile(value: str, label: str) -> str:
    """One large figure."""
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


class Markup(str):
    """Text that is HTML already."""


def meter(part: float, whole: float, kind: str = "accent") -> Markup:
    """A horizontal bar that is filled to part / whole."""
    filled = f'<i class="{kind}" style="width:{100 * part / whole:.2f}%"></i>' if part and whole else ""
    return Markup(f'<span class="meter">{filled}</span>')


def stack(parts: Iterable[tuple[str, float, str]]) -> Markup:
    """A stacked bar of (style class, value, hint)."""
    pieces = [
        f'<i class="{kind}" style="flex:{value:g}" title="{escape(hint)}"></i>' for kind, value, hint in parts if value
    ]
    return Markup(f'<div class="stack">{"".join(pieces)}</div>')


def table(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table; a head that starts with ">" stands over numbers. `rows` are made by `row`."""
    cells = [f'<th class="n">{escape(h[1:])}</th>' if h.startswith(">") else f"<th>{escape(h)}</th>" for h in head]
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(cells)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(name: str, *cells: str, kind: str = "", key: str = "") -> str:
    """A table row: a name, then cells; those that are `Markup` are bars and stand as they are, others are numbers."""
    mark = f'<i class="key {key}"></i>' if key else ""
    body = [
        f'<td class="bar">{cell}</td>' if isinstance(cell, Markup) else f'<td class="n">{escape(cell)}</td>'
        for cell in cells
    ]
    return f'<tr class="{kind}"><td class="name">{mark}{escape(name)}</td>{"".join(body)}</tr>'


def colour(place: int) -> str:
    """The style class of the colour of entry `place` in a list."""
    return f"c{min(place, 7)}"


def details(label: str, body: str) -> str:
    """Something that is folded away; nothing when there is nothing."""
    return f"<details><summary>{escape(label)}</summary>{body}</details>" if body else ""
