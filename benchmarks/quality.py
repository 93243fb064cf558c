"""How well a model learns from the same tokens: ours beside nanoGPT's, AdamW beside Muon, by full validation loss.

    python -m benchmarks.quality --data dataset/imdb --directory results --model ours --optimizer muon --compile
    python -m benchmarks.quality --data dataset/imdb --directory results --model nanogpt --nanogpt ../nanoGPT
    python -m benchmarks.quality --directory results --table

One run trains one model of 4 layers, 4 heads and width 512 (about 15M parameters at 4,096 tokens of vocabulary) and
writes its curve to DIRECTORY/NAME.json: every 500k tokens the training loss since the last point, the loss over the
whole validation split, and the time spent. Everything but the model and the optimizer is the same for all: batches
(16 sequences of 256 tokens in the order of the seed), schedule (100 steps of warm-up, cosine to a tenth), betas,
decay of matrices, clipping, bfloat16. `--nanogpt` names a directory with nanoGPT's `model.py`, which is used as it is.
A killed run goes on from its last saved state, to the same numbers. `--table` compares the finished runs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmarks import quality_table
from benchmarks.quality_models import SEQUENCE, build_model, build_optimizers
from foundation import atomic, cli
from foundation.errors import UserError
from foundation.quantities import Count
from shards.dataset import Dataset
from shards.packing import IGNORE, PackedBatch, PackedSamples, SequentialSamples
from training.devices.host_memory import keep_freed_memory

ROWS = 16
WARMUP_STEPS, LOW, CLIP = 100, 0.1, 1.0
POINT_TOKENS = 500_000
SAVE_STEPS = 100


@dataclass(frozen=True)
class Settings:
    """What decides a run's numbers."""

    model: str
    optimizer: str
    learning_rate: float
    seed: int
    tokens: int
    dataset: str

    @property
    def name(self) -> str:
        """The name of the run's files."""
        return f"{self.model}-{self.optimizer}-{self.learning_rate:g}-seed{self.seed}"

    @property
    def steps(self) -> int:
        """Optimizer steps of the run; the last one reaches or passes `tokens`."""
        return math.ceil(self.tokens / (SEQUENCE * ROWS))


@dataclass
class Progress:
    """Where a run stands. `nats` is summed over the steps since the last point of the curve."""

    step: int = 0
    nats: float = 0.0
    counted: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine that reaches a tenth at the last step (0-based)."""
    if step < WARMUP_STEPS:
        return settings.learning_rate * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, settings.steps - 1 - WARMUP_STEPS)
    return settings.learning_rate * (LOW + (1 - LOW) * 0.5 * (1 + math.cos(math.pi * done)))


class Run:
    """One model in training: its state on disk, its steps, its validation."""

    def __init__(self, settings: Settings, arguments: argparse.Namespace) -> None:
        self.settings, self.device = settings, torch.device(arguments.device)
        train, self.validation = (Dataset.open(arguments.data, split) for split in ("train", "val"))
        if train.vocab_size is None:
            raise UserError(f"{arguments.data}: a dataset with a manifest is needed, which names its vocabulary")
        torch.manual_seed(settings.seed)
        self.model = build_model(settings.model, arguments.nanogpt, train.vocab_size).to(self.device)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.loss: Any = torch.compile(self.model, dynamic=False) if arguments.compile else self.model
        self.optimizers = build_optimizers(self.model, settings.optimizer)
        self.samples = PackedSamples(train, SEQUENCE, settings.seed)
        self.progress = Progress()
        self.result = arguments.directory / f"{settings.name}.json"
        self.state = arguments.directory / f"{settings.name}.state"

    def restore(self) -> None:
        """Go on from the saved state, where there is one."""
        if not self.state.exists():
            return
        saved = torch.load(self.state, map_location=self.device, weights_only=True)
        if saved["settings"] != asdict(self.settings):
            raise UserError(f"{self.state}: of another run ({saved['settings']}); choose another --directory")
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.progress = Progress(**saved["progress"])

    def save(self) -> None:
        """State first, then the curve, which is a part of it. A finished run needs no state."""
        finished = self.progress.step == self.settings.steps
        if not finished:
            state: dict[str, Any] = {"settings": asdict(self.settings), "progress": asdict(self.progress)}
            state |= {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers]}
            with atomic.atomic_path(self.state) as temporary:
                torch.save(state, temporary)
        result = {"settings": asdict(self.settings), "parameters": self.parameters, "torch": torch.__version__}
        atomic.write_json(self.result, result | {"finished": finished, "curve": self.progress.curve})
        if finished:
            self.state.unlink(missing_ok=True)

    def _losses(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        tokens, targets = (torch.from_numpy(a).to(self.device) for a in (batch.inputs, batch.next_tokens))
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            out: tuple[Tensor, Tensor] = self.loss(tokens, targets=targets)
        return out

    def advance(self) -> None:
        """One optimizer step."""
        progress = self.progress
        rate = learning_rate(progress.step, self.settings)
        first = progress.step * ROWS
        nats, count = self._losses(self.samples.batch(np.arange(first, first + ROWS, dtype=np.int64)))
        if not math.isfinite(nats.item()):
            raise UserError(f"{self.settings.name}: the loss is {nats.item()} at step {progress.step}: it diverged")
        (nats / count).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.nats += nats.item()
        progress.counted += int(count)

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean nats over every token of the validation split but the first. The last batch is filled up with rows
        that count nothing, so that one compiled shape serves all."""
        samples = SequentialSamples(self.validation, SEQUENCE)
        nats, counted = 0.0, 0
        for first in range(0, len(samples), ROWS):
            batch = samples.batch(first, ROWS)
            missing = ((0, ROWS - len(batch.inputs)), (0, 0))
            inputs, targets = np.pad(batch.inputs, missing), np.pad(batch.next_tokens, missing, constant_values=IGNORE)
            total, count = self._losses(PackedBatch(inputs, targets, batch.segments))
            nats, counted = nats + total.item(), counted + int(count)
        return nats / counted

    def train(self) -> None:
        """To the end, with a point of the curve every `POINT_TOKENS`."""
        progress, per_step = self.progress, SEQUENCE * ROWS
        clocks = time.perf_counter() - progress.seconds, time.process_time() - progress.cpu_seconds
        while progress.step < self.settings.steps:
            self.advance()
            tokens = progress.step * per_step
            last = progress.step == self.settings.steps
            point = last or tokens // POINT_TOKENS > (tokens - per_step) // POINT_TOKENS
            validation = self.evaluate() if point else 0.0
            progress.seconds, progress.cpu_seconds = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
            if point:
                training = progress.nats / progress.counted
                times = {"seconds": progress.seconds, "cpu_seconds": progress.cpu_seconds}
                progress.curve.append({"tokens": tokens, "training": training, "validation": validation, **times})
                progress.nats, progress.counted = 0.0, 0
                print(
                    f"{self.settings.name}  {tokens:>9,} tokens  training {training:.4f}  validation {validation:.4f}"
                    f"  {progress.seconds:,.0f} s, {progress.cpu_seconds:,.0f} s of CPU",
                    flush=True,
                )
            if point or progress.step % SAVE_STEPS == 0:
                self.save()


def main(argv: list[str]) -> int:
    """Train one run, or compare those there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="dataset directory with the splits train and val")
    parser.add_argument("--directory", type=Path, required=True, help="where the results are")
    parser.add_argument("--table", action="store_true", help="compare the finished runs, draw curves.svg")
    parser.add_argument("--model", choices=["ours", "nanogpt"], default="ours")
    parser.add_argument("--nanogpt", type=Path, help="directory with nanoGPT's model.py")
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=TypeAdapter(Count).validate_python, default=5_000_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.table:
        quality_table.show(arguments.directory)
        return 0
    if arguments.data is None:
        parser.error("--data is needed")
    torch.set_num_threads(arguments.threads)
    keep_freed_memory(torch.device(arguments.device))
    identity = Dataset.open(arguments.data).identity
    chosen = {name: getattr(arguments, name) for name in ("model", "optimizer", "learning_rate", "seed", "tokens")}
    run = Run(Settings(**chosen, dataset=identity), arguments)
    if run.result.exists() and json.loads(run.result.read_text())["finished"]:
        raise UserError(f"{run.result}: this run is finished; remove the file to repeat it")
    run.restore()
    print(f"{run.settings.name}: {run.parameters:,} parameters, from step {run.progress.step} of {run.settings.steps}")
    run.train()
    return 0


if __name__ == "__main__":
    cli.run(main)
