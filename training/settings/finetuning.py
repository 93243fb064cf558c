"""Where a run starts from, what of the model it trains how fast, and what a classifier reads of long texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from training.settings.base import Settings


def _separated(value: Any) -> Any:
    """`0,1,2` and `0 1 2` alike."""
    words = [value] if isinstance(value, (str, int)) else value
    if not isinstance(words, (list, tuple)):
        return value
    return tuple(
        part for word in words for part in (word.split(",") if isinstance(word, str) else [word]) if part != ""
    )


class FinetuningSettings(Settings):
    """Fine-tuning."""

    FREE: ClassVar[frozenset[str]] = frozenset({"init_from", "seeds"})

    init_from: Path | None = Field(
        None,
        description="model directory (ours, or a Hugging Face one) whose weights a fresh run starts from, its "
        "architecture too; null: random weights",
    )
    truncation: Literal["head", "tail", "head_tail"] = Field(
        "head",
        description="what the task classify reads of a text that is too long: its head, its tail, or head_tail, a "
        "quarter from the start and the rest from the end",
    )
    layer_lr_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="each block learns at this share of the rate of the block above it, the embeddings slowest, the "
        "heads at the full rate; 1: all alike",
    )
    freeze_layers: Annotated[int | Literal["all"], Field(union_mode="left_to_right")] = Field(
        0,
        description="blocks, from the lowest, that keep their weights, and the embeddings with them; all: only what "
        "lies above the blocks learns; 0: everything learns",
    )
    seeds: Annotated[tuple[int, ...], BeforeValidator(_separated)] = Field(
        (),
        description="run once with each of these seeds, in out_dir/seed_N, and write mean and spread to summary.json; "
        "none: one run, with `seed`",
    )

    def problems(self) -> Sequence[str]:
        """What cannot be frozen or repeated."""
        problems = []
        if isinstance(self.freeze_layers, int) and self.freeze_layers < 0:
            problems.append(f"freeze_layers {self.freeze_layers}: give a number of blocks, 0 for none, or all")
        if len(set(self.seeds)) < len(self.seeds) or any(not 0 <= seed < 2**63 for seed in self.seeds):
            problems.append(f"seeds {' '.join(map(str, self.seeds))}: give different whole numbers from 0 on")
        return problems
