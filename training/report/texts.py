"""What the model wrote as it learned: the same prompts, step after step."""

from __future__ import annotations

from typing import Any

from foundation.page import html
from foundation.page.wording import escape, integer
from training.report.files import RunFiles

SHOWN = 6
PROMPTS = 12
FOLDED = 200


def samples(run: RunFiles) -> str:
    """For each prompt the first sample, the last, and some between; the others folded away."""
    prompts: dict[str, list[dict[str, Any]]] = {}
    for sample in run.samples:
        prompts.setdefault(str(sample.get("prompt", "")), []).append(sample)
    groups = []
    for prompt, found in list(prompts.items())[:PROMPTS]:
        chosen = _spread(len(found))
        shown = "".join(_sample(prompt, found[place]) for place in chosen)
        rest = [found[place] for place in range(len(found)) if place not in chosen][-FOLDED:]
        folded = html.details(f"{integer(len(rest))} more", "".join(_sample(prompt, one) for one in rest))
        title = f"“{prompt}”" if prompt else "A document from its beginning"
        groups.append(f'<div class="group"><h3>{escape(title)}</h3>{shown}{folded}</div>')
    return html.section(
        "What it wrote", "".join(groups), "the model's own words at its validations, each time with the same chance"
    )


def _spread(count: int) -> list[int]:
    """Up to `SHOWN` places of `count`, the first and the last among them, evenly spread."""
    if count <= SHOWN + 1:
        return list(range(count))
    return [round(place * (count - 1) / (SHOWN - 1)) for place in range(SHOWN)]


def _sample(prompt: str, sample: dict[str, Any]) -> str:
    step = f"step {integer(int(sample.get('step', 0)))}"
    return (
        f'<div class="sample"><span class="at">{escape(step)}</span>'
        f'<div class="text"><b>{escape(prompt)}</b>{escape(sample["text"])}</div></div>'
    )
