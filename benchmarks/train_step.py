"""How fast training steps are: our decoder beside those of nanoGPT and of `transformers`.

    python -m benchmarks.train_step [--nanogpt DIR] [--modes eager-float32 eager-bfloat16 compiled-bfloat16]

The models of one mode take turns, a step each, in one process, with the same batches, loss, clipping and optimizer
(fused AdamW for all). What counts is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.train_models import NAMES, Shape, build, parameters_of

MODES = ("eager-float32", "eager-bfloat16", "compiled-bfloat16")
# 8 heads share 4 key heads; the feed-forward layer takes what that saves.
SMALL = Shape(layers=8, heads=8, width=256, vocab_size=32_000, length=256, key_heads=4, inner=768)


@dataclass
class Contender:
    """One model with its optimizer, and how long its steps took."""

    name: str
    model: nn.Module
    run: nn.Module
    dtype: torch.dtype
    seconds: list[float] = field(default_factory=list)
    loss: float = 0.0

    def __post_init__(self) -> None:
        matrices = [parameter for parameter in self.model.parameters() if parameter.dim() >= 2]
        vectors = [parameter for parameter in self.model.parameters() if parameter.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), fused=True)

    def step(self, tokens: Tensor, targets: Tensor, timed: bool) -> None:
        """Forward, backward, clipping, update."""
        device = tokens.device.type
        precision: AbstractContextManager[object] = (
            nullcontext() if self.dtype == torch.float32 else torch.autocast(device, self.dtype)
        )
        began = time.perf_counter()
        with precision:
            loss = self.run(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = loss.item()
        if timed:
            self.seconds.append(time.perf_counter() - began)


def contender(name: str, mode: str, shape: Shape, nanogpt: Path | None, device: torch.device) -> Contender:
    """A model ready for `mode`."""
    model = build(name, shape, nanogpt).to(device)
    run: nn.Module = torch.compile(model, dynamic=False) if mode.startswith("compiled") else model  # type: ignore[assignment]
    return Contender(name, model, run, torch.float32 if mode.endswith("float32") else torch.bfloat16)


def random_batch(shape: Shape, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and targets, (rows, length) int64 each."""
    ids = torch.randint(0, shape.vocab_size, (rows, shape.length + 1), device=device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def compare(names: Sequence[str], mode: str, arguments: argparse.Namespace) -> None:
    """Time the models of one mode, a step in turn, and print a line for each."""
    device = torch.device("cpu")
    rivals = [contender(name, mode, SMALL, arguments.nanogpt, device) for name in names]
    torch.manual_seed(1)
    batches = [random_batch(SMALL, arguments.rows, device) for _ in range(4)]
    for step in range(arguments.warmup + arguments.steps):
        for rival in rivals:
            rival.step(*batches[step % len(batches)], timed=step >= arguments.warmup)
    tokens = arguments.rows * SMALL.length
    ours = statistics.median(rivals[0].seconds)
    for rival in rivals:
        median = statistics.median(rival.seconds)
        spread = f"{tokens / max(rival.seconds):,.0f} to {tokens / min(rival.seconds):,.0f}"
        ratio = "" if rival is rivals[0] else f"   ours is {median / ours:.2f} times as fast"
        print(
            f"{mode:18} {rival.name:8} {parameters_of(rival.model) / 1e6:6.2f} M parameters "
            f"{tokens / median:8,.0f} tokens/s ({spread}), loss {rival.loss:.3f}{ratio}",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--models", nargs="+", choices=NAMES[1:], help="whom to compare with (default: all there are)")
    parser.add_argument("--rows", type=int, default=16, help="sequences in a step")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the clock runs")
    parser.add_argument("--steps", type=int, default=10, help="steps of each model")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rivals = arguments.models or [name for name in NAMES[1:] if name != "nanogpt" or arguments.nanogpt]
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.rows} x {SMALL.length} tokens a step"
    )
    for mode in arguments.modes:
        compare(["ours", *rivals], mode, arguments)


if __name__ == "__main__":
    main()
