"""A user's own function as a filter: given each document as str, it says True or None to keep it, False to drop it, or
a reason to drop it.
"""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Callable
from pathlib import Path

from foundation import fingerprint
from foundation.errors import UserError, did_you_mean
from pipeline.filters.base import DocumentError, Filter, TextBatch, Verdicts

_REASON = re.compile(r"[\w .:-]{1,60}")


class CustomFilter(Filter):
    """Reasons: `custom` where the function says False, `custom_REASON` where it gives one.

    Raises `DocumentError` when the function fails, or answers something else.
    """

    alone = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._function = load_function(path)

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        dropped = {}
        for place, text in enumerate(batch.texts):
            reason = self._ask(place, text.decode())
            if reason is not None:
                dropped[place] = reason
        return Verdicts(dropped)

    def _ask(self, place: int, text: str) -> str | None:
        try:
            answer = self._function(text)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            told = f"raised {type(error).__name__}: {error} ({last.filename}:{last.lineno})"
            raise self._error(place, text, told) from error
        if answer is None or answer is True:
            return None
        if answer is False:
            return "custom"
        if isinstance(answer, str) and _REASON.fullmatch(answer):
            return f"custom_{answer}"
        told = f"answered {answer!r}; it must be True, False, None or a short reason (letters, digits, _ . : -)"
        raise self._error(place, text, told)

    def _error(self, place: int, text: str, told: str) -> DocumentError:
        return DocumentError(place, f"custom_filter {self._path} {told}; the document begins {text[:80]!r}")


def load_function(path: str) -> Callable[[str], object]:
    """The function at `path`, written `package.module:function`. `UserError` when there is none."""
    module_name, colon, name = path.partition(":")
    if not module_name or not colon or not name:
        raise UserError(f"custom_filter: {path!r} is not of the form package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        hint = "run from the directory it is in, or put that on PYTHONPATH"
        raise UserError(f"custom_filter: cannot import {module_name} ({error}); {hint}") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"custom_filter: {module_name} has no function {name}{did_you_mean(name, vars(module))}")
    return function  # type: ignore[no-any-return]


def source_fingerprint(path: str) -> str:
    """SHA-256 of the source file of the function's module: with another source it is another filter. Changes in what
    that module imports are not seen. `UserError` as `load_function`."""
    load_function(path)
    module = importlib.import_module(path.partition(":")[0])
    file = getattr(module, "__file__", None)
    if file is None:
        raise UserError(f"custom_filter: {module.__name__} has no source file; put the function into a .py file")
    return fingerprint.of_file(Path(file))
