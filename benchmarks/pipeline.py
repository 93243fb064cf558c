"""How fast the pipeline is: plain JSONL in the page cache to a published dataset, and where the time goes.

    python -m benchmarks.pipeline --input train.jsonl.gz test.jsonl.gz [--tokenizer DIRECTORY] [--runs 5]

Repeats the records of the inputs, each copy with a suffix of its own (so that exact deduplication has all the
work and keeps everything), to one plain JSONL file; trains a tokenizer on the first copy when none is given; runs
`python -m pipeline.process` with its default steps, each time on a new dataset. Rates count bytes of JSONL. Two
are given: from the first byte read to the manifest's rename (the pipeline's own clock), and the whole command.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from foundation.atomic import atomic_path
from tokenization.train import train_byte_bpe

ROOT = Path(__file__).resolve().parents[1]
MAP_STEP = "map/"
# What lies between the first byte read and the manifest's rename; the statistics come after it.
MEASURED = ("plan", "tokenizer", "map", "decide", "publish")


def records(paths: list[Path]) -> Iterator[dict[str, object]]:
    """The records of plain or gzipped JSONL files."""
    for path in paths:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from map(orjson.loads, file)


def make_corpus(inputs: list[Path], target: Path, size: int) -> None:
    """Write `size` bytes of JSONL (to the end of the last record) unless `target` already has them."""
    if target.exists() and target.stat().st_size >= size:
        return
    base = list(records(inputs))
    written, copy = 0, 0
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        while written < size:
            for record in base:
                line = orjson.dumps({**record, "text": f"{record['text']} ({copy})"}) + b"\n"
                written += file.write(line)
                if written >= size:
                    break
            copy += 1


def run(corpus: Path, tokenizer: Path, directory: Path, workers: int) -> dict[str, float]:
    """Make one dataset in the empty `directory`; the seconds of every step, and of the whole `command`.

    Raises RuntimeError when less than 99% of the records were kept: then it measured something else.
    """
    options = {"--input": corpus, "--output": directory / "set", "--tokenizer": tokenizer, "--workers": workers}
    arguments = [str(word) for pair in options.items() for word in pair]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pipeline.process", *arguments],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    whole = time.perf_counter() - started
    accounts = json.loads((directory / "set" / "stats.json").read_text())["accounts"]
    if accounts["kept"]["records"] < 0.99 * accounts["read"]["records"]:
        raise RuntimeError(f"the pipeline kept too few records: {accounts}")
    (timings,) = directory.glob(".work/*/timings.json")
    seconds: dict[str, float] = json.loads(timings.read_text())
    return {**seconds, "command": whole}


def report(corpus: Path, runs: list[dict[str, float]], workers: int) -> str:
    """The measurements as Markdown: rates, then the median share of every step."""
    size = corpus.stat().st_size / 1e6
    spans = [sum(seconds[step] for step in MEASURED) for seconds in runs]
    lines = [f"{size:.0f} MB of JSONL, {workers} workers, {len(runs)} runs, {os.cpu_count()} CPUs", ""]
    for name, values in (
        ("first byte to manifest", spans),
        ("whole command", [seconds["command"] for seconds in runs]),
    ):
        rates = sorted(size / value for value in values)
        middle = statistics.median(rates)
        lines.append(f"{name}: median {middle:.1f} MB/s, lowest {rates[0]:.1f}, highest {rates[-1]:.1f}")
    lines += ["", "| step | seconds (median) | share |", "|---|---|---|"]
    for step in MEASURED:
        values = [seconds[step] for seconds in runs]
        share = statistics.median(value / span for value, span in zip(values, spans, strict=True))
        lines.append(f"| {step} | {statistics.median(values):.2f} | {share:.1%} |")
    for step in [step for step in runs[0] if step.startswith(MAP_STEP)]:
        values = [seconds[step] for seconds in runs]
        totals = [sum(value for name, value in seconds.items() if name.startswith(MAP_STEP)) for seconds in runs]
        share = statistics.median(value / total for value, total in zip(values, totals, strict=True))
        lines.append(f"| — {step} (all workers) | {statistics.median(values):.2f} | {share:.1%} of map |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return "\n".join([*lines, "", f"largest process: {peak:.0f} MiB resident"])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="JSONL files, plain or .gz")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer directory; without it one is trained")
    parser.add_argument("--vocab_size", type=int, default=16_000, help="of a tokenizer that is trained")
    parser.add_argument("--megabytes", type=int, default=300, help="size of the JSONL file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to work, and to keep corpus and tokenizer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        scratch = Path(temporary)
        keep: Path = options.directory or scratch
        corpus = keep.resolve() / f"corpus_{options.megabytes}.jsonl"
        make_corpus(options.input, corpus, options.megabytes * 10**6)
        tokenizer = options.tokenizer or keep / f"tokenizer_{options.vocab_size}"
        if not tokenizer.exists():
            texts = (str(record["text"]) for record in records(options.input))
            train_byte_bpe(texts, options.vocab_size).save(tokenizer)
        corpus.read_bytes()  # into the page cache
        runs = []
        for number in range(options.runs):
            directory = scratch / f"run{number}"
            directory.mkdir()
            runs.append(run(corpus, tokenizer.resolve(), directory, options.workers))
            shutil.rmtree(directory)
        print(report(corpus, runs, options.workers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
