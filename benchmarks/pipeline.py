"""How fast the pipeline is: plain JSONL in the page cache to a published dataset, where the time goes, and its peers.

    python -m benchmarks.pipeline --input train.jsonl.gz test.jsonl.gz [--tokenizer DIRECTORY] [--runs 5]
    python -m benchmarks.pipeline --input … --steps tokens --peers datatrove [--megabytes 0]
    … --peer_command megatron='python tools/preprocess_data_fast.py --input {corpus} --output-prefix {output}/x …'

Repeats the records of the inputs, each copy with a suffix of its own (so that exact deduplication has all the work and
keeps everything), to one plain JSONL file (`--megabytes 0`: the inputs once, as they are); trains a tokenizer on the
first copy when none is given; runs `python -m pipeline.process`, each time on a new dataset, with its default steps
(`--steps all`) or with nothing but reading, tokenizing and writing (`--steps tokens`). Rates count bytes of JSONL:

    net      the whole command without what the same command takes for a corpus of one record: imports, loading the
             tokenizer, starting processes. Peers are measured in the same way, and compared by it.
    inside   from the first byte read to the manifest's rename, by the pipeline's own clock
    command  the whole command
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.corpus import make_corpus, records, split_corpus
from benchmarks.peers import PEERS
from tokenization.train import train_byte_bpe

ROOT = Path(__file__).resolve().parents[1]
MAP_STEP = "map/"
# What lies between the first byte read and the manifest's rename; the statistics come after it.
MEASURED = ("check", "tokenizer", "map", "decide", "publish")
_SWITCHES = (
    "repair_c1_controls unify_newlines remove_control_characters replace_br_tags collapse_blanks exact_dedup report"
)
_LIMITS = "max_symbols max_digits min_letters max_repeated_lines max_repeated_ngrams"
OFF = [
    *(word for name in _SWITCHES.split() for word in (f"--{name}", "false")),
    *(word for name in _LIMITS.split() for word in (f"--{name}", "null")),
    *("--unicode_form", "none"),
]
"""Leaves reading, tokenizing and writing."""
Seconds = dict[str, float]


def timed(command: list[str]) -> float:
    """Seconds that a command takes. Raises CalledProcessError, with its output, when it fails."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def run(corpus: Path, tokenizer: Path, directory: Path, workers: int, extra: list[str]) -> Seconds:
    """Make one dataset in the empty `directory`; the seconds of every step, and of the whole `command`.

    Raises RuntimeError when less than 99% of the records were kept: then it measured something else.
    """
    options = {"--input": corpus, "--output": directory / "set", "--tokenizer": tokenizer, "--workers": workers}
    arguments = [str(word) for pair in options.items() for word in pair]
    whole = timed([sys.executable, "-m", "pipeline.process", *arguments, *extra])
    accounts = json.loads((directory / "set" / "stats.json").read_text())["accounts"]
    if accounts["kept"]["records"] < 0.99 * accounts["read"]["records"]:
        raise RuntimeError(f"the pipeline kept too few records: {accounts}")
    (timings,) = directory.glob(".work/*/timings.json")
    seconds: Seconds = json.loads(timings.read_text())
    return {**seconds, "command": whole}


def run_peer(command: str, corpus: Path, tokenizer: Path, directory: Path, workers: int) -> float:
    """Run a peer in the empty `directory`; the seconds of its command, without those of cutting its input."""
    parts, output = directory / "parts", directory / "out"
    parts.mkdir()
    output.mkdir()
    if "{parts}" in command:
        split_corpus(corpus, parts, workers)
    names = {"corpus": corpus, "parts": parts, "tokenizer": tokenizer / "tokenizer.json", "output": output}
    return timed(shlex.split(command.format(**names, workers=workers)))


def spread(size: float, seconds: list[float]) -> str:
    """Median, lowest and highest of the rates."""
    rates = sorted(size / value for value in seconds)
    return f"median {statistics.median(rates):.1f} MB/s, lowest {rates[0]:.1f}, highest {rates[-1]:.1f}"


def report(size: float, runs: list[Seconds], start: float, workers: int) -> str:
    """The measurements as Markdown: rates, then the median share of every step."""
    spans = [sum(seconds.get(step, 0.0) for step in MEASURED) for seconds in runs]
    lines = [f"{size:.0f} MB of JSONL, {workers} workers, {len(runs)} runs, {os.cpu_count()} CPUs", ""]
    lines += [f"net: {spread(size, [seconds['command'] - start for seconds in runs])} (start-up {start:.2f} s)"]
    lines += [f"inside: {spread(size, spans)}", f"command: {spread(size, [seconds['command'] for seconds in runs])}"]
    lines += ["", "| step | seconds (median) | share |", "|---|---|---|"]
    for step in MEASURED:
        values = [seconds.get(step, 0.0) for seconds in runs]
        share = statistics.median(value / span for value, span in zip(values, spans, strict=True))
        lines.append(f"| {step} | {statistics.median(values):.2f} | {share:.1%} |")
    for step in [step for step in runs[0] if step.startswith(MAP_STEP)]:
        values = [seconds[step] for seconds in runs]
        totals = [sum(value for name, value in seconds.items() if name.startswith(MAP_STEP)) for seconds in runs]
        share = statistics.median(value / total for value, total in zip(values, totals, strict=True))
        lines.append(f"| — {step} (all workers) | {statistics.median(values):.2f} | {share:.1%} of map |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return "\n".join([*lines, "", f"largest process: {peak:.0f} MiB resident"])


class Bench:
    """Everything measured in one run, ours and the peers' in turn, so that a noisy minute hits all of them."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self._options, self._scratch = options, scratch
        keep: Path = (options.directory or scratch).resolve()
        self._corpus = keep / f"corpus_{options.megabytes}.jsonl"
        make_corpus(options.input, self._corpus, options.megabytes * 10**6 or None)
        self._tokenizer: Path = (options.tokenizer or keep / f"tokenizer_{options.vocab_size}").resolve()
        if not self._tokenizer.exists():
            texts = (str(record["text"]) for record in records(options.input))
            train_byte_bpe(texts, options.vocab_size).save(self._tokenizer)
        self._one = scratch / "one.jsonl"
        with self._corpus.open("rb") as file:
            self._one.write_bytes(file.readline())
        python = shlex.quote(sys.executable)
        self._peers = {
            name: f"{python} -m benchmarks.peers {name} {{parts}} {{tokenizer}} {{output}} {{workers}}"
            for name in options.peers
        }
        self._peers |= dict(text.split("=", 1) for text in options.peer_command)

    def _fresh(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._scratch))

    def _ours(self, corpus: Path) -> Seconds:
        directory = self._fresh()
        extra = [*(OFF if self._options.steps == "tokens" else []), *shlex.split(self._options.arguments)]
        seconds = run(corpus, self._tokenizer, directory, self._options.workers, extra)
        shutil.rmtree(directory)
        return seconds

    def _peer(self, command: str, corpus: Path) -> float:
        directory = self._fresh()
        seconds = run_peer(command, corpus, self._tokenizer, directory, self._options.workers)
        shutil.rmtree(directory)
        return seconds

    def measure(self) -> str:
        """All runs; what they came to."""
        self._corpus.read_bytes()  # into the page cache
        size, workers = self._corpus.stat().st_size / 1e6, self._options.workers
        start = min(self._ours(self._one)["command"] for _ in range(3))
        starts = {name: min(self._peer(command, self._one) for _ in range(2)) for name, command in self._peers.items()}
        ours: list[Seconds] = []
        theirs: dict[str, list[float]] = {name: [] for name in self._peers}
        for number in range(self._options.runs):
            ours.append(self._ours(self._corpus))
            for name, command in self._peers.items():
                if number < self._options.peer_runs:
                    theirs[name].append(self._peer(command, self._corpus) - starts[name])
        lines = [report(size, ours, start, workers), ""]
        own = statistics.median(size / (seconds["command"] - start) for seconds in ours)
        for name, seconds in theirs.items():
            ratio = own / statistics.median(size / value for value in seconds)
            lines.append(f"{name}, net: {spread(size, seconds)} (start-up {starts[name]:.2f} s); we: {ratio:.1f} times")
        return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="JSONL files, plain or .gz")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer directory; without it one is trained")
    parser.add_argument("--vocab_size", type=int, default=16_000, help="of a tokenizer that is trained")
    parser.add_argument("--megabytes", type=int, default=300, help="size of the JSONL file; 0: the inputs once")
    parser.add_argument("--steps", choices=("all", "tokens"), default="all", help="default steps, or tokens only")
    parser.add_argument("--arguments", default="", help="more arguments of pipeline.process, in one string")
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=[], help="peers from the package index")
    parser.add_argument("--peer_command", nargs="*", default=[], help="NAME=COMMAND with {corpus} {tokenizer} {output}")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer_runs", type=int, default=1, help="runs of each peer")
    parser.add_argument("--directory", type=Path, help="where to work, and to keep corpus and tokenizer")
    options = parser.parse_args()
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        print(Bench(options, Path(temporary)).measure())
    return 0


if __name__ == "__main__":
    sys.exit(main())
