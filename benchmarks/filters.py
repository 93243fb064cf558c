"""How fast the filters are on one core, and whether they judge as datatrove's do: both in one run, on the same texts.

    python -m benchmarks.filters --input train.jsonl.gz test.jsonl.gz [--limit 2000] [--breaks] [--no_peer]

Measured in CPU seconds, import time excluded, texts in memory: the default filters; the rules of Gopher (quality and
repetition), C4 and FineWeb all on; the same rules of datatrove, in the same order, with its defaults (needs
`pip install datatrove spacy`). Prints MB/s of UTF-8 text of each, how often the verdicts (kept or dropped) and the
texts that are left agree, and every document on which they do not, with both reasons. `--breaks` turns <br /> into line
feeds first, as the pipeline's cleaning does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from benchmarks.corpus import records
from pipeline.config import PipelineConfig
from pipeline.filters.chain import FilterChain

OFF = dict.fromkeys(("max_symbols", "max_digits", "min_letters", "max_repeated_lines", "max_repeated_ngrams"))
RULES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
BATCH_BYTES = 1_000_000
LOADING = "Load what is loaded on first use. " * 9
Judged = list[tuple[str | None, str]]
"""For each text the reason to drop it, or None, and what is left of it."""


def batches(texts: list[bytes]) -> Iterator[list[bytes]]:
    """About a megabyte at a time, as a source reads them."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def judge(chain: FilterChain, texts: list[bytes]) -> tuple[Judged, float]:
    """Our verdicts, and the CPU seconds they took."""
    judged: Judged = []
    seconds = 0.0
    chain.judge([LOADING.encode()])
    for batch in batches(texts):
        started = time.process_time()
        verdicts = chain.judge(batch)
        seconds += time.process_time() - started
        for place, text in enumerate(batch):
            judged.append((verdicts.dropped.get(place), verdicts.rewritten.get(place, text).decode()))
    return judged, seconds


def peer() -> Callable[[str], tuple[str | None, str]] | None:
    """datatrove's verdict on a text, or None, said why, where it is not installed."""
    try:
        import spacy  # noqa: F401  # splits its words
        from datatrove.data import Document
        from datatrove.pipeline.filters import (
            C4QualityFilter,
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
        )
    except ImportError as error:
        print(f"datatrove is not measured: {error}; pip install datatrove spacy")
        return None
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]

    def ask(text: str) -> tuple[str | None, str]:
        document = Document(text=text, id="0")
        for each in filters:
            answer = each.filter(document)
            if answer is not True:
                return (answer[1] if isinstance(answer, tuple) else "dropped"), text
        return None, str(document.text)

    ask(LOADING)
    return ask


def compare(ours: Judged, theirs: Judged, texts: list[bytes]) -> None:
    """Print how often both agree, and where they do not."""
    verdicts = sum((a[0] is None) == (b[0] is None) for a, b in zip(ours, theirs, strict=True))
    kept = [(a[1], b[1]) for a, b in zip(ours, theirs, strict=True) if a[0] is None and b[0] is None]
    same = sum(a == b for a, b in kept)
    print(f"same verdict    {verdicts:,} of {len(texts):,} ({verdicts / len(texts):.4%})")
    print(f"same text left  {same:,} of {len(kept):,} that both keep")
    print("reasons (ours, datatrove's):")
    for (mine, other), number in Counter((a[0], b[0]) for a, b in zip(ours, theirs, strict=True)).most_common():
        print(f"  {number:>7,}  {mine or 'kept'}, {other or 'kept'}")
    for (mine, left), (other, right), text in zip(ours, theirs, texts, strict=True):
        if (mine is None) != (other is None) or (mine is None and left != right):
            print(f"differs: {mine or 'kept'}, {other or 'kept'}: {text.decode()[:160]!r}")


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input", nargs="+", type=Path, required=True, help="JSONL files, plain or .gz")
    parser.add_argument("--field", default="text", help="the field that holds the text")
    parser.add_argument("--limit", type=int, help="only so many records")
    parser.add_argument("--breaks", action="store_true", help="turn <br /> into line feeds first")
    parser.add_argument("--no_peer", action="store_true", help="do not run datatrove")
    options = parser.parse_args()
    texts = [str(record[options.field]).encode() for record in islice(records(options.input), options.limit)]
    if options.breaks:
        texts = [text.replace(b"<br />", b"\n") for text in texts]
    if not texts:
        sys.exit("no records in the input")
    size = sum(map(len, texts))
    print(f"{len(texts):,} documents, {size / 1e6:.1f} MB; CPU time of one core")

    judged, seconds = judge(FilterChain(PipelineConfig()), texts)
    print(f"default filters {size / 1e6 / seconds:8.1f} MB/s ({seconds / size * 1e9:.1f} ns a byte)")
    for reason, number in Counter(reason for reason, _ in judged if reason).most_common():
        print(f"  {number:>7,}  {reason}")
    rules = FilterChain(PipelineConfig.model_validate(OFF | dict.fromkeys(RULES, True)))
    ours, seconds = judge(rules, texts)
    print(f"all four rules  {size / 1e6 / seconds:8.2f} MB/s")
    ask = None if options.no_peer else peer()
    if ask is not None:
        started = time.process_time()
        theirs = [ask(text.decode()) for text in texts]
        took = time.process_time() - started
        print(f"datatrove       {size / 1e6 / took:8.2f} MB/s; we are {took / seconds:.1f} times as fast")
        compare(ours, theirs, texts)


if __name__ == "__main__":
    main()
