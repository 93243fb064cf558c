"""The one exception type for mistakes a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, configuration or state: the message says what, where and what to do, and no traceback follows."""


def did_you_mean(word: str, choices: Iterable[str], prefix: str = "") -> str:
    """A hint naming the valid name closest to `word` (shown behind `prefix`), or nothing."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
