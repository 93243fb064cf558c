"""Quantities people write with a unit: counts (500k), sizes (24GB), durations (30m)."""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_SIZES = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_DURATIONS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_UNIT_DIGITS = 13


def _parse(value: Any, units: dict[str, int], what: str, example: str) -> Any:
    """`value` times its unit when it is text of that form; anything else is left for pydantic to judge."""
    if not isinstance(value, str):
        return value
    match = _NUMBER.fullmatch(value)
    if match is None or match[2].lower() not in units or math.isinf(float(match[1])):
        raise ValueError(f"{value!r} is not a {what}; write it like {example}")
    exactly = Context(prec=len(match[1]) + _UNIT_DIGITS)  # in floats 4.1M would not be whole
    product = exactly.multiply(Decimal(match[1]), Decimal(units[match[2].lower()]))
    return int(product) if product == product.to_integral_value() else float(product)


def _whole(value: Any, units: dict[str, int], what: str, example: str) -> Any:
    number = _parse(value, units, what, example)
    if isinstance(value, str) and isinstance(number, float):
        raise ValueError(f"{value!r} is not a whole number; write a {what} like {example}")
    return number


Count = Annotated[int, BeforeValidator(lambda value: _whole(value, _COUNTS, "count", "500k or 5M"))]
"""A whole number; text may carry k, M, B or T."""

Size = Annotated[int, BeforeValidator(lambda value: _whole(value, _SIZES, "size", "64MB or 24GB"))]
"""Bytes; text may carry kB, MB, GB, TB or KiB, MiB, GiB, TiB."""

Duration = Annotated[float, BeforeValidator(lambda value: _parse(value, _DURATIONS, "duration", "30m or 2h"))]
"""Seconds; text may carry s, m, h or d."""
