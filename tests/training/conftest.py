"""Tiny datasets made through the shards package, and the real command in a subprocess."""

from __future__ import annotations

import gc
import io
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation import cli
from foundation.circumstances import left_out
from foundation.section import bare_name
from shards.documents import RECORD
from shards.manifest import Manifest, RoleEntry, SplitEntry
from shards.writer import SplitWriter
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe
from training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
TINY_MODEL = [
    "--hidden_size",
    "32",
    "--num_hidden_layers",
    "2",
    "--num_attention_heads",
    "2",
    "--num_key_value_heads",
    "1",
    "--intermediate_size",
    "48",
    "--max_position_embeddings",
    "64",
]
TINY_RUN = [
    "--max_seq_len",
    "17",
    "--batch_size",
    "3",
    "--max_steps",
    "12",
    "--learning_rate",
    "0.01",
    "--warmup_steps",
    "3",
    "--log_interval",
    "1",
    "--eval_interval",
    "5",
    "--save_interval",
    "4",
    "--device",
    "cpu",
    "--dtype",
    "float32",
    "--compile",
    "false",
    # Pictures and samples take longer than twelve steps; the tests that look at them ask for them.
    "--report",
    "false",
    "--sample_tokens",
    "0",
]

LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run"],
    "launch": ["-m", "torch.distributed.launch"],
}


def write_split(directory: Path, documents: Sequence[np.ndarray], dtype: str = "uint16") -> SplitEntry:
    """One split with these documents."""
    writer = SplitWriter(directory, np.dtype(dtype), shard_tokens=500)
    for document in documents:
        writer.append(
            document.astype(dtype),
            np.array([len(document)], np.int32),
            np.zeros(1, RECORD),
            text_bytes=np.array([len(document)]),
        )
    return writer.finish()


def random_documents(seed: int, count: int, vocab_size: int) -> list[np.ndarray]:
    """Documents of a simple language: each token is the one before plus a small step; the terminator is 0."""
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        steps = generator.integers(1, 4, size=generator.integers(5, 60))
        tokens = (generator.integers(7, vocab_size) + np.cumsum(steps)) % (vocab_size - 7) + 7
        documents.append(np.append(tokens, 0))
    return documents


def write_dataset(
    path: Path, tokenizer: Tokenizer, train: Sequence[np.ndarray], validation: Sequence[np.ndarray] = ()
) -> Path:
    """A dataset directory as the pipeline would publish it."""
    tokenizer.save(path / "tokenizer")
    splits = {"train": write_split(path / "train", train), "val": write_split(path / "val", validation)}
    Manifest(
        dtype="uint16",
        vocab_size=tokenizer.vocab_size,
        roles={"end_of_text": RoleEntry(token="<|endoftext|>", id=0)},
        terminator=[0],
        tokenizer_fingerprint=tokenizer.fingerprint,
        pipeline_fingerprint="0" * 64,
        settings={},
        versions={},
        block_bytes=1,
        inputs=[],
        splits=splits,
    ).save(path)
    return path


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A byte-level tokenizer of its own, 280 tokens."""
    return train_byte_bpe(["the cat sat on the mat, and the other cat ran after the rat. " * 20], 280)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A dataset of about 2,500 training and 300 validation tokens."""
    size = tokenizer.vocab_size
    path = tmp_path_factory.mktemp("data") / "tiny"
    return write_dataset(path, tokenizer, random_documents(1, 79, size), random_documents(2, 11, size))


@dataclass
class Command:
    """`train.py` with a tiny model, in a directory of its own."""

    directory: Path
    base: list[str] = field(default_factory=list)

    def argv(self, *more: str) -> list[str]:
        """The command line; `more` overrides `base`, also where a flag that is repeated goes on."""
        again = {bare_name(word.partition("=")[0]) for word in more if word.startswith("--")}
        return [sys.executable, str(ROOT / "train.py"), *left_out(self.base, again), *more]

    def environment(self, **extra: str) -> dict[str, str]:
        """This process's environment for a child, single-threaded, plus `extra`."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}

    def run(self, *more: str, launcher: Sequence[str] = (), **extra: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; `launcher` goes before train.py (torchrun's module, say)."""
        argv = self.argv(*more)
        argv = [argv[0], *launcher, *argv[1:]]
        return subprocess.run(
            argv,
            cwd=self.directory,
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            timeout=200,
        )

    def call(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Like `run`, in this process: the same `main`, without the seconds that starting Python and torch
        takes."""
        out, err = io.StringIO(), io.StringIO()
        argv = self.argv(*more)[1:]
        gc.freeze()  # the run's own collections need not look through all that pytest and torch hold
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.directory)
            patch.setattr("sys.argv", argv)
            patch.setattr("sys.orig_argv", [sys.executable, *argv])
            try:
                cli.run(runpy.run_path(argv[0])["main"])
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())

    def start(self, *more: str, **extra: str) -> subprocess.Popen[str]:
        """Start in a process group of its own."""
        return subprocess.Popen(
            self.argv(*more),
            cwd=self.directory,
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def rows(self, out: str = "out") -> list[dict[str, Any]]:
        """The run's metrics without what depends on the clock."""
        lines = (self.directory / out / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            row.pop("tokens_per_second")
            row.pop("mfu", None)
        return rows


@pytest.fixture
def command(tmp_path: Path, dataset: Path) -> Command:
    """The command on the tiny dataset, with out_dir `out` below `tmp_path`."""
    return Command(tmp_path, [*TINY_MODEL, *TINY_RUN, "--train_data_path", str(dataset)])


@pytest.fixture
def around_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[Trainer, int], None]], None]]:
    """Call `do(trainer, number of the step that begins)` before each step."""
    step = Trainer._step

    def plant(do: Callable[[Trainer, int], None]) -> None:
        def planted(trainer: Trainer, batches: Any) -> Any:
            do(trainer, trainer._state.step + 1)
            return step(trainer, batches)

        monkeypatch.setattr(Trainer, "_step", planted)

    yield plant


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def launcher(free_port: int) -> Callable[..., list[str]]:
    """What goes before train.py to start processes here: `launcher("torchrun", 2)` or `launcher("launch", 2)`."""

    def start(name: str, processes: int) -> list[str]:
        here = ["--master_addr=127.0.0.1", f"--master_port={free_port}"]
        return [*LAUNCHERS[name], f"--nproc_per_node={processes}", *here]

    return start


@pytest.fixture
def make_dataset(tmp_path: Path, tokenizer: Tokenizer) -> Callable[..., Path]:
    """Write a dataset with the session's tokenizer: `make_dataset(name, train, validation)`."""

    def make(name: str, train: Sequence[np.ndarray], validation: Sequence[np.ndarray] = ()) -> Path:
        return write_dataset(tmp_path / name, tokenizer, train, validation)

    return make
