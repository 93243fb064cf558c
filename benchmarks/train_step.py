"""How fast training steps are: our decoder beside those of nanoGPT and of `transformers`.

    python -m benchmarks.train_step [--nanogpt DIR] [--modes eager-float32 eager-bfloat16 compiled-bfloat16]
    python -m benchmarks.train_step --device cuda [--nanogpt DIR] [--sizes 124m 15m] [--rows 64]

The first compares small models: those of one mode take turns, a step each, each in a process of its own, with the same
batches, loss, clipping and optimizer (fused AdamW for all). What counts is the ratio of the medians.

The second says what a GPU makes of models of these sizes, compiled, in bfloat16: tokens a second and their share of its
peak rate (MFU by `model.costs.flops_per_token`), with document masks off and on, in a plain loop ("ours") and in the
step of train.py with all its checks. Without `--rows` the microbatch is found by trying. `--device cpu --sizes
2x4x64x512x64` tries the same code without a GPU.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.contenders import MODES
from benchmarks.train_models import NAMES, Shape
from benchmarks.train_rates import SIZES, Rates
from benchmarks.turns import DecoderEntry, Player
from foundation import cli
from foundation.device import pick_device
from model import head, head_gradients

# 8 heads share 4 key heads; the feed-forward layer takes what that saves.
SMALL = Shape(layers=8, heads=8, width=256, vocab_size=32_000, length=256, key_heads=4, inner=768)


def compare(names: Sequence[str], mode: str, arguments: argparse.Namespace) -> None:
    """Time the models of one mode, a step in turn, and print a line for each."""
    entries = [DecoderEntry(name, mode, SMALL, arguments.rows, arguments.nanogpt, arguments.threads) for name in names]
    with ExitStack() as stack:
        players = [stack.enter_context(Player(entry)) for entry in entries]
        for step in range(arguments.warmup + arguments.steps):
            for player in players:
                player.turn(step, timed=step >= arguments.warmup)
    tokens = arguments.rows * SMALL.length
    ours = statistics.median(players[0].seconds)
    for player in players:
        median = statistics.median(player.seconds)
        spread = f"{tokens / max(player.seconds):,.0f} to {tokens / min(player.seconds):,.0f}"
        ratio = "" if player is players[0] else f"   ours is {median / ours:.2f} times as fast"
        print(
            f"{mode:18} {player.entry.name:8} {player.parameters / 1e6:6.2f} M parameters "
            f"{tokens / median:8,.0f} tokens/s ({spread}), loss {player.loss:.3f}{ratio}",
            flush=True,
        )


def rate(names: Sequence[str], arguments: argparse.Namespace) -> None:
    """What the device makes of each size, one mode after the other."""
    device = pick_device(arguments.device)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {what}", flush=True)
    if arguments.keep_logits:
        head_gradients.DEVICES, head.KEPT_LOGITS, head.PIECE = (), 2**62, 2**62
    for mode in arguments.modes or ["compiled-bfloat16"]:
        for name in arguments.sizes or SIZES:
            print(f"{name}, {mode}:", flush=True)
            Rates(name, mode, arguments).measure(names)
            torch.compiler.reset()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--modes", nargs="+", choices=MODES, help="default: all; of sizes compiled-bfloat16")
    parser.add_argument("--models", nargs="*", choices=NAMES[1:], help="whom to compare with (default: all there are)")
    parser.add_argument("--rows", type=int, help="sequences in a step (default: 16; of sizes found by trying)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the clock runs")
    parser.add_argument("--steps", type=int, default=10, help="steps of each model (of sizes: three times)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", nargs="+", help=f"{', '.join(SIZES)} or LAYERSxHEADSxWIDTHxVOCABULARYxLENGTH")
    parser.add_argument("--peak_tflops", type=float, help="peak rate of the device (default: from the table)")
    parser.add_argument("--keep_logits", action="store_true", help="of sizes: keep all logits for backward")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rivals = arguments.models
    if rivals is None:
        rivals = [name for name in NAMES[1:] if name != "nanogpt" or arguments.nanogpt]
    if arguments.sizes or arguments.device != "cpu":
        rate(rivals, arguments)
        return 0
    arguments.rows = arguments.rows or 16
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.rows} x {SMALL.length} tokens a step"
    )
    for mode in arguments.modes or MODES:
        compare(["ours", *rivals], mode, arguments)
    return 0


if __name__ == "__main__":
    cli.run(main)
