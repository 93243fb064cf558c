"""The end of the page: the command, the machine, and how long each step took."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import yaml

from foundation.circumstances import machine, now, typed
from foundation.page import html
from foundation.page.wording import escape, plural, seconds, size, words

_STEPS = {
    "plan": "list and fingerprint the input",
    "check": "look for what is done",
    "tokenizer": "prepare the tokenizer",
    "map": "read, clean, filter, tokenize",
    "decide": "find duplicates, choose splits",
    "publish": "write the shards",
    "statistics": "statistics and examples",
    "upload": "upload",
}


@dataclass(frozen=True)
class Facts:
    """What only the run knows. `seconds`: wall time of each step; those of "map/STEP" are summed over the workers.
    `mapped_bytes`: bytes of text that this run mapped; `all_bytes`: of all parts, also those of earlier runs."""

    seconds: dict[str, float]
    workers: int
    mapped_bytes: int
    all_bytes: int
    command: str = ""
    finished: str = ""
    machine: str = ""

    @classmethod
    def gather(cls, seconds: dict[str, float], workers: int, mapped_bytes: int, all_bytes: int) -> Facts:
        """The facts of the run in this process, now."""
        return cls(seconds, workers, mapped_bytes, all_bytes, typed(sys.orig_argv), now(), machine())


def facts_line(facts: Facts) -> str:
    """When it was made, how long it took, how fast mapping was."""
    whole = sum(value for step, value in facts.seconds.items() if "/" not in step)
    speed = _speed(facts.mapped_bytes, facts.seconds.get("map", 0))
    mapped = f" · text mapped at {speed}" if speed else ""
    return f"Token dataset · {facts.finished} · made in {seconds(whole)}{mapped}"


def _speed(size_bytes: float, duration: float) -> str:
    return f"{size(size_bytes / duration)}/s" if size_bytes and duration > 0 else ""


def making(facts: Facts, settings: dict[str, Any], versions: dict[str, str]) -> str:
    """The section."""
    steps = {step: value for step, value in facts.seconds.items() if "/" not in step}
    inner = {step[4:]: value for step, value in facts.seconds.items() if step.startswith("map/")}
    longest = max(steps.values(), default=0)
    read = {"map": facts.mapped_bytes, **dict.fromkeys(("decide", "publish", "statistics"), facts.all_bytes)}
    rows = [
        html.row(
            _STEPS.get(step, words(step)), html.meter(value, longest), seconds(value), _speed(read.get(step, 0), value)
        )
        for step, value in steps.items()
    ]
    most = max(inner.values(), default=0)
    inner_rows = [
        html.row(words(step), html.meter(value, most, "c2"), seconds(value), _speed(facts.all_bytes, value))
        for step, value in inner.items()
    ]
    typed = f"<pre>{escape(facts.command)}</pre>" if facts.command else ""
    body = typed + f'<p class="note">{plural(facts.workers, "worker")} on {escape(facts.machine)}</p>'
    left = html.table(["step", "", ">time", ">text"], rows)
    right = html.table(["within the workers", "", ">summed time", ">text, one core"], inner_rows) if inner_rows else ""
    body += f'<div class="pair"><div>{left}</div><div>{right}</div></div>'
    shown = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False, width=100)
    body += html.details("Settings that decide the dataset", f"<pre>{escape(shown)}</pre>")
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    return html.section("How it was made", body) + f"<footer>{escape(made)}</footer>"
