"""How fast BERT learns masked tokens: our packed steps beside `transformers`, in real tokens a second.

    python -m pipeline.process --input imdb.jsonl --tokenizer vocab.txt --output dataset/imdb_bert
    python -m benchmarks.encoder_step --dataset dataset/imdb_bert
    python -m benchmarks.encoder_step --dataset dataset/imdb_bert --shape 12x12x768 --recipes 256 --rows 4 --steps 3
    python -m benchmarks.encoder_step --dataset dataset/imdb_bert --device cuda

The first compares, for each recipe, our model in the step of train.py on packed rows with BertForMaskedLM on one text
a row: padded to 256 or 512 tokens, or in batches of texts of similar length padded to their longest (`grouped`; ours
are rows of 512). `transformers` runs eager and compiled, with the fused kernel for attention and with the plain
formula; its best counts. Contenders of a recipe take turns, a step each, each in a process of its own; all train the
same shape in bfloat16 with the same optimizer, without dropout, on batches made beforehand. A rate is all real tokens
by all seconds.

With `--device cuda`: tokens a second of our steps and their share of the GPU's peak rate (MFU), for BERT-base in rows
of 512 tokens unless `--shape` and `--length` say otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.contenders import Contender
from benchmarks.encoder_batches import Batch, open_task, packed, padded
from benchmarks.encoder_models import EncoderShape, ours, transformers_bert
from benchmarks.encoder_rates import rate
from benchmarks.turns import Player, Work
from foundation import cli
from foundation.errors import UserError

RECIPES = {"256": 256, "512": 512, "grouped": 512}
MODES = ("eager-bfloat16", "compiled-bfloat16")
BATCHES = 8


@dataclass(frozen=True)
class EncoderEntry:
    """A contender of one recipe."""

    name: str
    mode: str
    attention: str
    recipe: str
    shape: EncoderShape
    rows: int
    dataset: Path
    threads: int | None

    def ready(self, device: torch.device) -> tuple[Contender, Sequence[Work]]:
        """The model, and batches from the dataset."""
        task = open_task(self.dataset, RECIPES[self.recipe])
        vocab_size = task.data.vocab_size
        if self.name == "ours":
            one = ours(self.mode, "bert", self.shape, vocab_size, device)
            return one, _work(packed(task, self.rows, BATCHES))
        one = transformers_bert(self.mode, self.attention, self.shape, vocab_size, device)
        return one, _work(padded(task, self.rows, BATCHES, self.recipe == "grouped"))


def _work(batches: Sequence[Batch]) -> list[Work]:
    return [((batch,), batch.real) for batch in batches]


def compare(recipe: str, arguments: argparse.Namespace) -> None:
    """Time the contenders of a recipe, a step in turn, and print a line for each."""
    length = RECIPES[recipe]
    rows = arguments.rows or 4096 // length
    kinds = [("ours", mode, "pieces") for mode in arguments.modes]
    kinds += [("transformers", mode, attention) for mode in arguments.modes for attention in arguments.attention]
    shape, dataset, threads = shape_of(arguments.shape, 512), arguments.dataset, arguments.threads
    with ExitStack() as stack:
        entries = [EncoderEntry(*kind, recipe, shape, rows, dataset, threads) for kind in kinds]
        players = [stack.enter_context(Player(entry)) for entry in entries]
        for step in range(-arguments.warmup, arguments.steps):
            if step == 0:
                print(f"{recipe:8} warm, {arguments.steps} steps each are timed", flush=True)
            for player in players:
                player.turn(step % BATCHES, timed=step >= 0)
    rates = [sum(player.tokens) / sum(player.seconds) for player in players]
    for (name, mode, attention), player, speed in zip(kinds, players, rates, strict=True):
        each = [tokens / seconds for tokens, seconds in zip(player.tokens, player.seconds, strict=True)]
        print(
            f"{recipe:8} {name:12} {mode:18} {attention:6} {player.parameters / 1e6:6.2f} M, {rows} rows: "
            f"{speed:8,.0f} real tokens/s (steps {min(each):,.0f} to {max(each):,.0f}), loss {player.loss:.3f}",
            flush=True,
        )
    own, theirs = (max(rate for kind, rate in zip(kinds, rates, strict=True) if kind[0] == name)
                   for name in ("ours", "transformers"))  # fmt: skip
    print(f"{recipe:8} ours is {own / theirs:.2f} times as fast as the best of transformers", flush=True)


def shape_of(text: str, length: int) -> EncoderShape:
    """LAYERSxHEADSxWIDTH, with `length` positions."""
    numbers = text.split("x")
    if len(numbers) != 3 or not all(number.isdigit() and int(number) > 0 for number in numbers):
        raise UserError(f"--shape {text}: give LAYERSxHEADSxWIDTH, as in 8x8x256")
    layers, heads, width = map(int, numbers)
    return EncoderShape(layers, heads, width, length)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="a dataset of texts, of BERT's tokenizer")
    parser.add_argument("--shape", help="LAYERSxHEADSxWIDTH (default: 8x8x256; on a GPU 12x12x768)")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--attention", nargs="+", choices=("sdpa", "eager"), default=["sdpa", "eager"])
    parser.add_argument("--rows", type=int, help="rows of a step (default: 4,096 tokens; on a GPU found by trying)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock runs")
    parser.add_argument("--steps", type=int, default=8, help="steps of each contender")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--length", type=int, default=512, help="with --device: tokens of a row")
    parser.add_argument("--architectures", nargs="+", choices=("bert", "modernbert"), default=["bert"])
    parser.add_argument("--peak_tflops", type=float, help="peak rate of the device (default: from the table)")
    arguments = parser.parse_args(argv)
    if arguments.device != "cpu":
        rate(shape_of(arguments.shape or "12x12x768", arguments.length), arguments)
        return 0
    arguments.shape = arguments.shape or "8x8x256"
    print(f"torch {torch.__version__}, {arguments.threads or torch.get_num_threads()} threads, {arguments.shape}")
    for recipe in arguments.recipes:
        compare(recipe, arguments)
    return 0


if __name__ == "__main__":
    cli.run(main)
