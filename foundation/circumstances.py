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

_SECRET = re.compile(r"(?i)((?:key|key_?id|token|secret|password)=)[^\s&]+")  # not --tokenizer=, --max_tokens=


def now() -> str:
    """The local time with its zone: 2026-05-17 09:30 CEST."""
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def typed(arguments: list[str]) -> str:
    """A command line to type again, without credentials that a URL may carry: none shows its query."""
    words = [Path(arguments[0]).name, *arguments[1:]] if arguments else []
    return _SECRET.sub(r"\1…", shlex.join(map(_open, words)))


def _open(word: str) -> str:
    """A word without the credentials of the URLs in it. A signed URL has them in its query, under many names; where
    it cannot be told whether an @ ends a password, what stands before it is taken for one."""
    before, mark, rest = word.partition("://")
    if not mark:
        return word
    address, question, query = rest.partition("?")
    shown = [_without_password(link) for link in address.split("://")]  # zip://a.zip::s3://… names several
    host, slash, _ = shown[-1].partition("/")
    if "@" in query and (":" in host or not slash):
        shown[-1] = "…"  # the question mark may be a password's
    return "://".join([before, *shown]) + (f"{question}…" if question else "")


def _without_password(link: str) -> str:
    """What follows a ://, without user and password. A colon before the first slash may be the one before a password
    that holds slashes; an @ behind a plain host (hf://datasets/OWNER/NAME@REVISION) is part of the path."""
    host, slash, path = link.partition("/")
    shown, rest = (link, "") if ":" in host else (host, slash + path)
    return ("…@" + shown.rpartition("@")[2] if "@" in shown else shown) + rest


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
