"""The run as it went: its stretches, where the time went, spikes and skipped steps, what lies on the disk."""

from __future__ import annotations

from typing import Any

from foundation.page import html
from foundation.page.wording import escape, integer, plural, seconds, size, words
from training.loggers.run_history import ENDINGS
from training.report.files import RunFiles, Stretch
from training.report.overview import when

LISTED = 60
_QUIET = ("saved", *ENDINGS)
_TOLD_ELSEWHERE = ("event", "time", "step", "seconds")


def stretches(run: RunFiles) -> str:
    """A row for each start of the run."""
    rows = []
    for place, stretch in enumerate(run.stretches):
        going_on = place == len(run.stretches) - 1
        first = int(stretch.started.get("step") or 0)
        rows.append(
            "<tr>"
            + _cell(when(float(stretch.started.get("time", 0))), "name")
            + _cell(f"{integer(first)} – {integer(stretch.last_step)}", "n")
            + _cell(seconds(stretch.seconds) if stretch.seconds else "–", "n")
            + _cell(_ending(stretch, going_on), "words")
            + _cell(_where(stretch.started), "words")
            + "</tr>"
        )
    if not rows:
        return ""
    table = html.table(["started", ">steps", ">time", "how it ended", "where"], rows[-LISTED:])
    return html.section("Stops and resumes" if len(rows) > 1 else "The run", table + _events(run))


def _cell(text: str, kind: str) -> str:
    return f'<td class="{kind}">{escape(text)}</td>'


def _ending(stretch: Stretch, going_on: bool) -> str:
    ending = stretch.ending
    if ending is None:
        return "running, or killed" if going_on else f"killed after step {integer(stretch.last_step)} or later"
    reason = ending.get("reason")
    return f"{ending['event']}{f' ({reason})' if reason else ''}"


def _where(started: dict[str, Any]) -> str:
    ranks = started.get("ranks") or 1
    device = f"{plural(ranks, 'process').replace('processs', 'processes')} on {started.get('device', '?')}"
    kind = started.get("dtype")
    return ", ".join(part for part in (device, kind, "compiled" if started.get("compiled") else "") if part)


def _events(run: RunFiles) -> str:
    """What else happened, newest last."""
    rows = []
    for stretch in run.stretches:
        for event in stretch.events:
            if event["event"] not in _QUIET:
                told = [
                    f"{words(str(k))} {v}" for k, v in event.items() if k not in ("event", "time", "step", "seconds")
                ]
                rows.append(
                    f"<tr>{_cell(words(str(event['event'])), 'name')}{_cell(integer(int(event.get('step') or 0)), 'n')}"
                    f"{_cell(', '.join(told), 'words')}</tr>"
                )
    if not rows:
        return ""
    return html.details(f"{plural(len(rows), 'event')}", html.table(["event", ">step", ""], rows[-LISTED:]))


def times(run: RunFiles) -> str:
    """Where the time of all stretches went."""
    total: dict[str, float] = {}
    for stretch in run.stretches:
        for part, value in stretch.times.items():
            total[part] = total.get(part, 0.0) + float(value)
    whole = sum(stretch.seconds for stretch in run.stretches)
    if not total:
        return ""
    longest = max(total.values())
    rows = [
        html.row(words(part), html.meter(value, longest), seconds(value) if value else "–", _share(value, whole))
        for part, value in sorted(total.items(), key=lambda item: -item[1])
    ]
    return html.section("Where the time went", html.table(["part", "", ">time", ">share"], rows))


def _share(value: float, whole: float) -> str:
    return f"{100 * value / whole:.1f}%" if whole >= value and whole else ""


def saved(run: RunFiles) -> str:
    """Checkpoints and models."""
    rows = [html.row(name, size(number)) for name, number in run.saved]
    return html.section("Checkpoints and models", html.table(["name", ">size"], rows)) if rows else ""


def faults(run: RunFiles) -> str:
    """Spikes of the loss, and steps that were skipped, with what they were made of."""
    told = {fault["step"] for fault in run.faults}
    scaled = [row for row in run.rows if row.get("skipped") and row["step"] not in told]
    both = [*run.faults, *({**row, "event": "skipped, float16"} for row in scaled)]
    rows = [
        "<tr>"
        + _cell(words(str(fault.get("event", "spike"))), "name")
        + _cell(integer(fault["step"]), "n")
        + _cell(_loss(fault.get("loss")), "n")
        + _cell(_loss(fault["expected"]) if "expected" in fault else "", "n")
        + _cell(_origin(fault), "words")
        + "</tr>"
        for fault in sorted(both, key=lambda fault: int(fault["step"]))[-LISTED:]
    ]
    table = html.table(["what", ">step", ">loss", ">expected", "samples"], rows) if rows else ""
    return html.section("Spikes and skipped steps", table, "the samples that are the likeliest cause")


def _loss(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "not finite"


def _origin(fault: dict[str, Any]) -> str:
    """The samples, and where the first of them lie."""
    ranges = fault.get("suspects") or []
    numbers = ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in ranges[:5])
    places = [
        f"{one.get('dataset')} {one.get('split')} from token {one.get('token')}"
        for one in (fault.get("documents") or [])[:2]
    ]
    return ": ".join(part for part in (numbers, "; ".join(places)) if part)
