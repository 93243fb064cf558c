"""Real tokens per second of our encoders' training steps and their share of the peak rate (MFU)."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.contenders import Contender, dtype_of, timed_steps
from benchmarks.encoder_batches import Batch, open_task, packed
from benchmarks.encoder_models import EncoderShape, ours
from benchmarks.train_models import parameters_of
from foundation.device import pick_device
from foundation.errors import UserError
from model.costs import flops_per_token
from training.devices.out_of_memory import is_out_of_memory, release
from training.devices.peaks import peak_flops
from training.tasks.mlm import MlmTask

MODE, BATCHES, TRIED_STEPS, ROUNDS = "compiled-bfloat16", 4, 5, 3
FIRST_TOKENS, MOST_TOKENS, GAIN = 2**12, 2**18, 1.02  # more that are not so much faster are not worth their memory


@dataclass(frozen=True)
class Ready:
    """A model behind its first steps, with what it trains on."""

    one: Contender
    batches: Sequence[Batch]

    def seconds(self, steps: int, device: torch.device) -> float:
        """The median of seconds a real token."""
        taken = timed_steps(self.one, [(batch,) for batch in self.batches], steps, device)
        real = [self.batches[step % len(self.batches)].real for step in range(steps)]
        return statistics.median(second / tokens for second, tokens in zip(taken, real, strict=True))


def rate(shape: EncoderShape, arguments: argparse.Namespace) -> None:
    """What the device makes of each architecture in rows of `shape.length` tokens; prints a line for each."""
    device = pick_device(arguments.device)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {what}", flush=True)
    task = open_task(arguments.dataset, shape.length)
    given = arguments.peak_tflops
    peak = peak_flops(device, dtype_of(MODE)) if given is None else 1e12 * given
    for architecture in arguments.architectures:
        found = _best(architecture, shape, task, arguments, device)
        rows, real = len(found.batches[0].tensors["inputs"]), found.batches[0].real
        rates = [1 / found.seconds(arguments.steps, device) for _ in range(ROUNDS)]
        masked = sum(batch.masked for batch in found.batches) / sum(batch.real for batch in found.batches)
        flops = flops_per_token(shape.config(architecture), task.data.vocab_size, task.attended_length(), masked)
        speed = statistics.median(rates)
        share = "" if peak is None else f", MFU {100 * flops * speed / peak:.1f}%"
        print(
            f"{architecture:10} {parameters_of(found.one.model) / 1e6:6.1f} M, {rows} x {shape.length}: {speed:,.0f} "
            f"real tokens/s ({min(rates):,.0f} to {max(rates):,.0f}){share}, {100 * real / rows / shape.length:.1f}% "
            f"real, loss {found.one.loss:.3f}",
            flush=True,
        )
        del found
        torch.compiler.reset()
        release()


def _best(
    architecture: str, shape: EncoderShape, task: MlmTask, arguments: argparse.Namespace, device: torch.device
) -> Ready:
    """The number of rows asked for, else the largest that pays: it doubles as long as tokens get cheaper."""
    rows, best, price = arguments.rows or max(1, FIRST_TOKENS // shape.length), arguments.rows or 0, float("inf")
    while not arguments.rows and (rows * shape.length <= MOST_TOKENS or not best):
        found = _ready(architecture, shape, task, rows, arguments, device)
        cost = float("inf") if found is None else found.seconds(TRIED_STEPS, device)
        if found is not None:
            print(f"{architecture:10} {rows} rows: {1 / cost:,.0f} real tokens/s", flush=True)
        del found
        torch.compiler.reset()
        release()
        if cost * GAIN > price or cost == float("inf"):
            break
        rows, best, price = 2 * rows, rows, cost
    last = _ready(architecture, shape, task, best, arguments, device) if best else None
    if last is None:
        raise UserError(f"--rows {rows}: the memory of {device} is too small for so many rows of {shape.length} tokens")
    return last


def _ready(
    architecture: str,
    shape: EncoderShape,
    task: MlmTask,
    rows: int,
    arguments: argparse.Namespace,
    device: torch.device,
) -> Ready | None:
    """A model behind its first steps; None: so many rows do not fit into memory."""
    try:
        found = Ready(ours(MODE, architecture, shape, task.data.vocab_size, device), packed(task, rows, BATCHES))
        timed_steps(found.one, [(batch,) for batch in found.batches], arguments.warmup, device)
        return found
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    release()
    return None
