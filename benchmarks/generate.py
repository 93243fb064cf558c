"""Tokens a second of generation beside `transformers`, in turns, each in a process of its own.

    python -m benchmarks.generate                        on a CPU: 39M parameters, one prompt and sixteen
    python -m benchmarks.generate --device cuda          125M in bfloat16, in this process

All have the same random weights and take the likeliest token after the same prompts; where their texts in float32
differ, a CPU says so. `transformers` runs with its dynamic and its static cache, as its generate does by itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.contenders import Contender, timed_steps
from benchmarks.generate_entries import OURS, THEIRS, GenerationEntry
from benchmarks.turns import Player
from foundation import cli
from foundation.errors import UserError
from generation.bandwidth import read_bandwidth
from generation.engine.native import building

MODES = ("float32:1", "bfloat16:1", "int8:1", "float32:16", "bfloat16:16", "int8:16")
DEFAULT = ("float32:1", "bfloat16:1", "int8:1", "float32:16")
GPU_DEFAULT = ("bfloat16:1", "bfloat16:16")
KINDS = (*OURS, *THEIRS)


def entries_of(mode: str, size: str, new: int, threads: int | None) -> list[GenerationEntry]:
    """The contenders of a mode; transformers has no int8 of its own, there it runs in float32."""
    weights, _, rows = mode.partition(":")
    if mode not in MODES and not (weights in ("float32", "bfloat16", "int8") and rows.isdigit() and int(rows)):
        raise UserError(f"--modes {mode}: give WEIGHTS:ROWS, as in {', '.join(MODES)}")
    kinds = (OURS[0], *THEIRS) if weights == "int8" else KINDS
    return [GenerationEntry(kind, weights, int(rows), size, new, threads) for kind in kinds]


def compare(entries: Sequence[GenerationEntry], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's turns, on a CPU; prints where texts differ."""
    with ExitStack() as stack:
        players = [stack.enter_context(Player(entry)) for entry in entries]
        for number in range(-1, rounds):
            for player in players:
                player.turn(number + 1, timed=number >= 0)
        texts = {player.loss for player in players}
    if len(texts) > 1 and entries[0].weights == "float32":
        print("  the last texts differ: near-ties, or a fault", flush=True)
    return {player.entry.name: player.seconds for player in players}


def compare_here(entries: Sequence[GenerationEntry], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """As `compare`, in this process, where a GPU's memory and clocks are the same for all."""
    ready: list[tuple[Contender, Sequence[tuple[Sequence[object], int]]]] = [entry.ready(device) for entry in entries]
    seconds: dict[str, list[float]] = {entry.name: [] for entry in entries}
    for number in range(-2, rounds):
        for entry, (one, works) in zip(entries, ready, strict=True):
            took = timed_steps(one, [works[(number + 2) % len(works)][0]], 1, device)
            seconds[entry.name] += took if number >= 0 else []
    return seconds


def tell(mode: str, entries: Sequence[GenerationEntry], seconds: dict[str, list[float]], bandwidth: float) -> None:
    """A line for each contender and the ratio."""
    rates = {}
    for entry in entries:
        took, tokens = seconds[entry.name], entry.rows * entry.new
        rates[entry.name] = tokens / statistics.median(took)
        read = entry.bytes_of_text() / statistics.median(took)
        print(
            f"{mode:12} {entry.name:22} {rates[entry.name]:8,.0f} tokens/s "
            f"({tokens / max(took):,.0f} to {tokens / min(took):,.0f}), {read / 1e9:.1f} of {bandwidth / 1e9:.1f} GB/s",
            flush=True,
        )
    theirs = max(rates[name] for name in THEIRS)
    print(f"{mode:12} ours is {rates[OURS[0]] / theirs:.2f} times as fast as the better of transformers", flush=True)


def compile_seconds() -> float:
    """How long the C++ compiler takes for our kernels, on a CPU."""
    compiler = building.find_compiler()
    if compiler is None:
        raise UserError("no C++ compiler here; install one, as with `apt install g++`")
    with tempfile.TemporaryDirectory() as directory:
        begun = time.perf_counter()
        building.compiled(compiler, Path(directory) / "kernels.so")
        return time.perf_counter() - begun


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    defaults = f"{' '.join(DEFAULT)}; on a GPU {' '.join(GPU_DEFAULT)}"
    parser.add_argument("--modes", nargs="+", help=f"WEIGHTS:ROWS (default: {defaults})")
    parser.add_argument("--size", choices=("39m", "125m"), help="default: 39m, on a GPU 125m")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender that are timed")
    parser.add_argument("--new_tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    arguments = parser.parse_args(argv)
    device = torch.device(arguments.device)
    cpu = device.type == "cpu"
    size = arguments.size or ("39m" if cpu else "125m")
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    name = f"{torch.get_num_threads()} threads" if cpu else torch.cuda.get_device_name(device)
    print(f"torch {torch.__version__}, {name}, {size}, {arguments.new_tokens} new tokens", flush=True)
    if cpu:
        print(f"compiling our kernels takes {compile_seconds():.1f} s, once a machine", flush=True)
    for mode in arguments.modes or (DEFAULT if cpu else GPU_DEFAULT):
        entries = entries_of(mode, size, arguments.new_tokens, arguments.threads)
        bandwidth = read_bandwidth(entries[0].model(device))
        seconds = compare(entries, arguments.rounds) if cpu else compare_here(entries, arguments.rounds, device)
        tell(mode, entries, seconds, bandwidth)
    return 0


if __name__ == "__main__":
    cli.run(main)
