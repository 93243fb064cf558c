"""The circumstances of a run, for people to read: the command, the machine, the time. No result depends on them."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from foundation.page.wording import plural, size
from foundation.section import bare_name

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET = re.compile(r"(?i)((?:key|token|secret|password)[^=\s]*=)[^\s&]+")


def now() -> str:
    """The local time with its zone: 2026-05-17 09:30 CEST."""
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def typed(arguments: list[str]) -> str:
    """A command line to type again, without credentials that a URL may carry."""
    words = [Path(arguments[0]).name, *arguments[1:]] if arguments else []
    return _SECRET.sub(r"\1…", _CREDENTIALS.sub("…@", shlex.join(words)))


def retyped(arguments: list[str], without: Collection[str], more: Sequence[str]) -> str:
    """A command line to type again, without these flags and their values, and with `more` behind it.

    Its flags may be written in every way that `foundation.flags` knows: --max-steps=3, --no_report.
    """
    return typed([*left_out(arguments, without), *more])


def left_out(arguments: Sequence[str], flags: Collection[str]) -> list[str]:
    """A command line without these flags and their values."""
    kept, dropping = [], False
    for word in arguments:
        if word.startswith("--"):
            dropping = bare_name(word.partition("=")[0]).removeprefix("no_") in flags
        if not dropping:
            kept.append(word)
    return kept


def machine() -> str:
    """The machine in words, without its name."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    words = [plural(cpus, "CPU"), platform.machine(), platform.system(), f"Python {platform.python_version()}"]
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        words.insert(1, names[0].strip() if names else "")
        words.insert(2, size(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) + " memory")
    except (OSError, ValueError):
        pass
    return ", ".join(word for word in words if word)
