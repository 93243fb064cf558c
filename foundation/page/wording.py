"""Numbers, sizes, times and texts as people read them, safe to put into HTML."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SHOWN_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def escape(text: str) -> str:
    """Text as HTML: markup is inert, and what is invisible or would reorder the page is spelt out."""
    return html.escape(printable(text))


def printable(text: str) -> str:
    """Text with its line ends, in which all else that is invisible or would reorder a line is spelt out."""
    return _SHOWN_CONTROLS.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def differences(
    old: Mapping[str, object],
    new: Mapping[str, object],
    absent: tuple[object, object],
    spelt: Callable[[Any], str] = str,
) -> str:
    """Which values differ, in words; empty where none does. `absent` stands for what `old` and `new` do not hold."""
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return ", ".join(
        f"{name} {spelt(old.get(name, absent[0]))}, now {spelt(new.get(name, absent[1]))}" for name in names
    )


def printable_line(text: str) -> str:
    """Text as one line, in which line ends are spelt out, too."""
    return printable(text).replace("\n", "⟨U+000A⟩")


def token_text(text: str) -> str:
    """A token's text with its blanks made visible, not yet escaped."""
    return "".join(_BLANKS.get(c, c) for c in text)


_BLANKS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u3000": "□", "\u00a0": "⍽"}


def integer(value: float) -> str:
    """12,345"""
    return f"{round(value):,}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def short(value: float) -> str:
    """12,345 up to 99,999, then three digits and a unit: 123 k, 4.56 M"""
    if value < 100_000:
        return integer(value)
    unit, name = next((u, n) for u, n in _UNITS if value >= u * 0.9995)
    return f"{_three_digits(value / unit)}\u202f{name}"


def tick(value: float) -> str:
    """A power of ten or a small number for an axis: 1, 10, 100, 1k, 10k, 1M"""
    unit, name = next(((u, n) for u, n in _UNITS if value >= u), (1.0, ""))
    return f"{value / unit:g}{name}"


def size(value: float) -> str:
    """Bytes: 512 B, 4.56 MB"""
    unit, name = next(((u, n) for u, n in _SIZES if value >= u * 0.9995), (1.0, "B"))
    return f"{integer(value)}\u202fB" if unit == 1 else f"{_three_digits(value / unit)}\u202f{name}"


def seconds(value: float) -> str:
    """A duration: 0.4 ms, 1.23 s, 4 min 5 s, 2 h 3 min"""
    if value < 0.9995:
        return f"{value * 1000:.3g}\u202fms" if value >= 1e-3 else f"{value * 1e6:.0f}\u202fµs"
    if value < 60:
        return f"{value:.3g}\u202fs"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}\u202fmin {rest}\u202fs"
    return f"{minutes // 60}\u202fh {minutes % 60}\u202fmin"


def percent(part: float, whole: float) -> str:
    """A share that never pretends: 93.8%, <0.1%, 100% only when it is all."""
    if not whole or not part:
        return "0%"
    share = 100 * part / whole
    if part == whole:
        return "100%"
    if share < 0.05:
        return "<0.1%"
    return f"{min(share, 99.9):.1f}%"


def plural(number: int, noun: str) -> str:
    """1 document, 2 documents"""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def words(identifier: str) -> str:
    """An identifier as words: too_short -> too short"""
    return identifier.replace("_", " ")


def wide(character: str) -> bool:
    """Whether a character takes two columns (Han, Kana, Hangul, full-width forms)."""
    return unicodedata.east_asian_width(character) in "WF"


def text_width(text: str, size_px: float) -> float:
    """About how wide `text` is drawn in a sans-serif font of `size_px`, in pixels."""
    return size_px * sum(1.0 if wide(c) else 0.56 for c in text)


def clip(text: str, columns: int) -> str:
    """`text` cut to so many columns, with an ellipsis when something is gone."""
    used = 0
    for place, character in enumerate(text):
        used += 2 if wide(character) else 1
        if used > columns:
            return text[: max(0, place - 1)] + "…"
    return text
