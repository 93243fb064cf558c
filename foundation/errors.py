"""The one exception type for mistakes a user can mend, and what any error says in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, configuration or state: the message says what, where and what to do, and no traceback follows."""


def did_you_mean(word: str, choices: Iterable[str], prefix: str = "") -> str:
    """A hint naming the valid name closest to `word` (shown behind `prefix`), or nothing."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def first_line(error: BaseException) -> str:
    """What an error says, or the one that a compiler wrapped in it, in one line; its kind where that says more."""
    error = getattr(error, "inner_exception", error)
    text = str(error).strip().partition("\n")[0]
    bare = not text or isinstance(error, KeyError)  # a KeyError's text is the key alone
    return f"{type(error).__name__}: {text}".removesuffix(": ") if bare else text
