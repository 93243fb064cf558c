"""What a dry run tells people on the terminal."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.preview.dry_run import Estimate
from pipeline.workspace.areas import human_age, human_size
from pipeline.workspace.storage import url_of


def told(estimate: Estimate, config: PipelineConfig) -> Iterator[str]:
    """The prediction, the reasons of rejection, and examples."""
    about = "" if estimate.whole else "about "
    share = estimate.seen_bytes / estimate.input_bytes
    yield f"dry run of {config.output}: nothing was written"
    yield (
        f"  sample     {estimate.seen_records:,} records, {human_size(estimate.seen_bytes)} of"
        f" {human_size(estimate.input_bytes)} of input ({share:.1%})"
    )
    yield f"  tokenizer  {estimate.tokenizer}; engine {estimate.engine}"
    yield f"  records    {about}{estimate.records:,.0f}"
    for name, reasons in (("rejected", estimate.rejected), ("quarantined", estimate.quarantined)):
        yield f"  {name:10} {about}{sum(reasons.values()):,} {_reasons(reasons)}".rstrip()
    yield f"  documents  {about}{estimate.documents:,.0f}, before duplicates are dropped{_duplicates(estimate)}"
    rate = estimate.text_bytes / max(1.0, estimate.tokens)
    yield f"  tokens     {about}{estimate.tokens:,.0f} ({rate:.2f} bytes a token)"
    disk = f"{human_size(estimate.shard_bytes)} of shards, {human_size(estimate.work_bytes)} of work"
    yield f"  disk       {about}{disk}{_free(config)}"
    yield f"  time       about {human_age(estimate.seconds)} with {config.worker_count()} workers"
    yield f"  memory     about {human_size(estimate.memory_bytes)}"
    for kind, text in estimate.examples:
        yield f"  {kind}: {text}"


def _reasons(reasons: Counter[str]) -> str:
    listed = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(8))
    return f"({listed})" if listed else ""


def _duplicates(estimate: Estimate) -> str:
    if not estimate.seen_duplicates:
        return ""
    return f" ({estimate.seen_duplicates:,} exact ones within the sample)"


def _free(config: PipelineConfig) -> str:
    if url_of(config.output) is not None:
        return ""
    place = Path(config.output).absolute()
    while not place.exists():
        if place == place.parent:
            return ""
        place = place.parent
    return f"; {human_size(shutil.disk_usage(place).free)} are free"
