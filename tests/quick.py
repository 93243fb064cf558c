"""Which cases of a long list every run of the tests tries."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest


def quick(values: Iterable[Any], chosen: Container[Any]) -> list[Any]:
    """`values` for `parametrize`: all but those `chosen` are left to `make test-slow`."""
    return [value if value in chosen else pytest.param(value, marks=pytest.mark.slow) for value in values]
