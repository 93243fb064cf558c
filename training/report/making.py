"""The end of the page: the command, the machine, the data, the settings and the versions."""

from __future__ import annotations

from typing import Any

import yaml

from foundation.page import html
from foundation.page.wording import escape, integer, short
from training.report.files import RunFiles

_DATA = {
    "dataset": "dataset",
    "train_tokens": "tokens to train on",
    "validation_tokens": "tokens to validate on",
    "vocab_size": "vocabulary",
    "parameters": "parameters",
    "global_batch": "sequences in a step",
    "tokens_per_step": "tokens in a step",
    "total_steps": "steps planned",
    "total_tokens": "tokens planned",
    "ranks": "processes",
    "device": "device",
    "dtype": "number format",
    "compiled": "compiled",
}


def making(run: RunFiles) -> str:
    """The section; empty for a run without a history."""
    facts = run.facts
    if not facts:
        return ""
    command = f"<pre>{escape(str(facts['command']))}</pre>" if facts.get("command") else ""
    machine = f'<p class="note">{escape(str(facts["machine"]))}</p>' if facts.get("machine") else ""
    rows = [
        f'<tr><td class="name">{escape(name)}</td><td class="n">{escape(_value(facts[key]))}</td></tr>'
        for key, name in _DATA.items()
        if facts.get(key) is not None
    ]
    shown = yaml.safe_dump(facts.get("config") or {}, allow_unicode=True, sort_keys=False, width=100)
    settings = html.details("Settings", f"<pre>{escape(shown)}</pre>") if facts.get("config") else ""
    body = command + machine + html.table(["", ""], rows) + settings
    versions = ", ".join(f"{name} {version}" for name, version in (facts.get("versions") or {}).items())
    return html.section("How it is made", body) + f"<footer>{escape(versions)}</footer>"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return integer(value) if value < 10**7 else f"{integer(value)} ({short(value)})"
    return str(value)
