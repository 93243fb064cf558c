"""The section `data`: what is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from foundation.quantities import Count
from training.settings.base import Settings


class Source(NamedTuple):
    """A dataset to train on, and its weight among others; None: as often as its size says."""

    path: Path
    weight: Fraction | None


def _several(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(str, value))
    return (str(value),) if isinstance(value, (str, Path)) else value


class DataConfig(Settings):
    """What is read."""

    aliases: ClassVar[Mapping[str, Sequence[str]]] = {
        "train_data_path": ["--data_path", "--data-path"],
        "prefetch_steps": ["--num_workers", "--num-workers"],
    }
    FREE: ClassVar[frozenset[str]] = frozenset({"train_data_path", "val_data_path", "tokenizer_path", "prefetch_steps"})

    train_data_path: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        ("dataset/demo",),
        min_length=1,
        description="dataset directory, nanoGPT .bin or Megatron prefix to train on; several are mixed, by weight "
        "when written PATH=WEIGHT, else by size",
    )
    val_data_path: Path | None = Field(
        None, description="dataset to validate on; null: the validation splits of train_data_path"
    )
    tokenizer_path: Path | None = Field(
        None, description="directory with tokenizer.json; null: the dataset's own (a plain .bin needs one)"
    )
    max_seq_len: Count = Field(256, ge=2, description="tokens in one training sequence")
    packing: Literal["concat", "best_fit"] = Field(
        "concat",
        description="concat: sequences are cut from all documents in a row; best_fit: each holds whole documents, "
        "only those longer than a sequence are cut",
    )
    document_mask: bool = Field(
        True, description="attention and positions stop at the borders of documents that share a sequence"
    )
    prefetch_steps: int = Field(
        2,
        ge=1,
        le=64,
        description="steps of batches that a thread prepares ahead of the model; num_workers is another name",
    )

    @property
    def sources(self) -> list[Source]:
        """The datasets of train_data_path with their weights."""
        return [_source(text) for text in self.train_data_path]

    def problems(self) -> Sequence[str]:
        """Datasets named twice, weights that are none, and weights that only some have."""
        sources = self.sources
        problems = []
        for source in sources:
            if source.weight is not None and source.weight <= 0:
                problems.append(f"train_data_path {source.path}: its weight must be above 0; leave the dataset out")
        if len({source.path for source in sources}) < len(sources):
            problems.append("train_data_path names a dataset twice; give it once, with a larger weight")
        bare = [str(source.path) for source in sources if source.weight is None]
        if 0 < len(bare) < len(sources):
            problems.append(
                f"train_data_path: {', '.join(bare)} without a weight beside others with one; write =WEIGHT"
            )
        return problems


def _source(text: str) -> Source:
    """`PATH=WEIGHT` or `PATH`; what stands behind the last = is a weight only if it is a number."""
    path, _, weight = text.rpartition("=")
    try:
        return Source(Path(path), Fraction(weight)) if path else Source(Path(text), None)
    except (ValueError, ZeroDivisionError):
        return Source(Path(text), None)
