"""The top of the page: what was trained, how far it is, and the figures that matter."""

from __future__ import annotations

import datetime
import math
from statistics import median
from typing import Any, NamedTuple

from foundation.page import html
from foundation.page.wording import escape, integer, plural, seconds, short
from training.report.files import RunFiles

_STATES = {
    None: "running, or killed",
    "finished": "finished",
    "stopped": "stopped, resumable",
    "diverged": "stopped: its numbers were not finite",
    "failed": "failed",
}

_KINDS = {"chat": "A chat model", "mlm": "An encoder", "mlm_nsp": "An encoder", "classify": "A classifier"}


def when(moment: float) -> str:
    """Seconds since 1970 as local time."""
    return datetime.datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z")


class Best(NamedTuple):
    """The lowest value of what best/ follows, its step, whether it is the EMA's, and its name."""

    value: float
    step: int
    average: bool
    name: str


def best_validation(run: RunFiles) -> Best | None:
    """The best validation, of the EMA where there is one; None without a validation."""
    for measure, name in (("val_error", "validation error"), ("val_loss", "validation loss")):
        for key in (f"{measure}_ema", measure):
            found = [(row[key], row["step"]) for row in run.rows if isinstance(row.get(key), int | float)]
            if found:
                return Best(*min(found), key.endswith("_ema"), name)
    return None


def speed(run: RunFiles) -> float | None:
    """The median tokens per second of the logged steps."""
    known = [row["tokens_per_second"] for row in run.rows if isinstance(row.get("tokens_per_second"), int | float)]
    return median(known) if known else None


def headline(run: RunFiles) -> str:
    """Title, one sentence, and the large figures."""
    facts, last = run.facts, run.rows[-1] if run.rows else {}
    best = best_validation(run)
    sentence = _sentence(facts, last, best)
    figures = [(integer(last["step"]), "steps"), (short(last["tokens"]), "tokens")] if last else []
    if best:
        figures.append((f"{best.value:.3f}", f"best {best.name}{' (EMA)' if best.average else ''}, step {best.step}"))
        if facts.get("task", "causal") == "causal":
            figures.append((_perplexity(best.value), "its perplexity"))
    elif isinstance(last.get("loss"), int | float):
        figures.append((f"{last['loss']:.3f}", "loss of the last step"))
    rate, shares = speed(run), [row["mfu"] for row in run.rows if isinstance(row.get("mfu"), int | float)]
    if rate:
        figures.append((short(rate), "tokens per second"))
    if shares:
        figures.append((f"{100 * median(shares):.1f}%", "of the peak FLOP/s (MFU)"))
    spent = sum(stretch.seconds for stretch in run.stretches)
    if spent:
        figures.append((seconds(spent), f"in {plural(len(run.stretches), 'stretch')}".replace("stretchs", "stretches")))
    tiles = "".join(html.tile(value, label) for value, label in figures)
    return (
        f'<p class="over">{escape(_state(run))}</p><h1>{escape(run.path.resolve().name)}</h1>'
        f'<p class="lead">{escape(sentence)}</p><div class="tiles">{tiles}</div>'
    )


def _state(run: RunFiles) -> str:
    if not run.stretches:
        return "Training run"
    last = run.stretches[-1]
    ending = last.ending
    heard = when(float(last.last.get("time", 0)))
    return f"Training run · {_STATES.get(ending['event'] if ending else None, '')} · {heard}"


def _sentence(facts: dict[str, Any], last: dict[str, Any], best: Best | None) -> str:
    parts = []
    if facts.get("parameters"):
        what = _KINDS.get(str(facts.get("task")), "A decoder")
        parts.append(f"{what} of {short(facts['parameters'])} parameters")
        if facts.get("dataset"):
            parts.append(f" trained on {facts['dataset']}")
    if last:
        goal = facts.get("total_steps")
        steps = integer(last["step"]) if not goal or goal == last["step"] else f"{last['step']:,} of {goal:,}"
        tokens = short(last["tokens"])
        if last["tokens"] < (facts.get("total_tokens") or 0):
            tokens += f" of {short(facts['total_tokens'])}"
        parts.append(f"{':' if parts else ''} {steps} steps, {tokens} tokens")
        if facts.get("tokens_per_epoch"):
            parts.append(f" ({last['tokens'] / facts['tokens_per_epoch']:.3g} passes over the data)")
    if best:
        unit = " nats a token" if facts.get("task", "causal") in ("causal", "chat", "mlm") else ""
        parts.append(f", {best.name} down to {best.value:.4f}{unit}")
    return "".join(parts).strip() + "." if parts else "Nothing is logged yet."


def _perplexity(loss: float) -> str:
    return f"{math.exp(loss):,.1f}" if loss < 20 else "–"
