"""How much memory the pipeline takes: the peak of the whole process tree, near-deduplication included. Linux only.

    python -m benchmarks.memory --input train.jsonl.gz test.jsonl.gz --tokenizer DIRECTORY --size 5GB [--files 20]

Repeats the records of the inputs with distinct suffixes to `--size` bytes of plain JSONL in `--files` files (or, with
`--archive`, one .gz file), runs `python -m pipeline.process --near_dedup true` on them, and adds up the proportional
set sizes (/proc/PID/smaps_rollup: shared pages counted once) of the command and everything it started, a few times a
second.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.corpus import make_corpus, split_corpus
from foundation.quantities import Size

ROOT = Path(__file__).resolve().parents[1]
PROC = Path("/proc")


def tree(root: int) -> list[int]:
    """`root` and all processes it started, directly or not, that live now."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()  # the name may hold anything
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def proportional_bytes(process: int) -> int:
    """Proportional set size of a process, swapped pages included; 0 when it is gone."""
    total = 0
    with contextlib.suppress(OSError):
        for line in (PROC / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss:", "SwapPss:")):
                total += int(line.split()[1]) * 1024
    return total


def watch(command: list[str], log: Path, interval: float) -> tuple[list[int], float, float]:
    """Run a command to its end: sizes of its processes at the peak of their sum, largest first, the seconds after which
    that was, and the seconds it took. Raises RuntimeError when it fails."""
    peak: list[int] = []
    at, started = 0.0, time.perf_counter()
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) as running:
        while running.poll() is None:
            sizes = [proportional_bytes(process) for process in tree(running.pid)]
            if sum(sizes) > sum(peak):
                peak, at = sorted(filter(None, sizes), reverse=True), time.perf_counter() - started
            time.sleep(interval)
    if running.returncode:
        raise RuntimeError(f"the pipeline failed: {log.read_text(errors='replace')[-2000:]}")
    return peak, at, time.perf_counter() - started


def make_input(options: argparse.Namespace, directory: Path) -> Path:
    """The corpus: a directory of its files."""
    whole, place = directory / "whole.jsonl", directory / "input"
    place.mkdir()
    make_corpus(options.input, whole, TypeAdapter(Size).validate_python(options.size))
    if options.archive:
        with whole.open("rb") as source, gzip.open(place / "whole.jsonl.gz", "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        whole.unlink()
    elif options.files > 1:
        split_corpus(whole, place, options.files)
        whole.unlink()
    else:
        whole.rename(place / whole.name)
    return place


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="JSONL files, plain or .gz")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer directory")
    parser.add_argument("--size", default="100MB", help="bytes of JSONL, like 100MB or 5GB")
    parser.add_argument("--files", type=int, default=1, help="files they are spread over")
    parser.add_argument("--archive", action="store_true", help="one .gz file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between samples")
    parser.add_argument("--arguments", default="--near_dedup true", help="more arguments of pipeline.process")
    parser.add_argument("--directory", type=Path, help="where to work; needs about four times the size")
    options = parser.parse_args()
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        directory = Path(temporary).resolve()
        command = [sys.executable, "-m", "pipeline.process", "--input", str(make_input(options, directory))]
        command += ["--output", str(directory / "out" / "set"), "--tokenizer", str(options.tokenizer.resolve())]
        command += ["--workers", str(options.workers), *shlex.split(options.arguments)]
        peak, at, seconds = watch(command, directory / "log", options.interval)
    sizes = " + ".join(f"{size / 1e6:.0f}" for size in peak)
    print(f"peak {sum(peak) / 1e6:.0f} MB ({sizes}) after {at:.0f} of {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
