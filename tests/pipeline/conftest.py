"""A small dirty corpus, a small tokenizer, and the real command run in a process of its own."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig
from pipeline.executors.base import Ledger, Outcome, answer
from pipeline.mapping.map_task import Mapper
from pipeline.mapping.setup import MapSetup
from pipeline.workspace.place import place_of
from tokenization.engines import audit
from tokenization.train import train_byte_bpe

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["the", "of", "rain", "über", "naïve", "世界", "春眠不覺曉", "river", "😀", "token", "<|endoftext|>"]
WORDS += ["house's", "3.14", "don't", "run", "café", "a", "e\u0301"]
Run = Callable[..., subprocess.CompletedProcess[str]]


def documents(count: int, seed: int) -> list[str]:
    """Texts of 1 to 60 words over several lines, some with things to clean, about one in ten a duplicate."""
    chance = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        if texts and chance.random() < 0.1:
            texts.append(chance.choice(texts))
            continue
        words = [chance.choice(WORDS) + str(chance.randrange(50)) for _ in range(chance.randrange(1, 60))]
        joiner = chance.choice([" ", " ", " \n", "<br />", "\r\n", "\n\n\n\n"])
        texts.append(joiner.join(words))
    return texts


def write_corpus(directory: Path, seed: int = 1) -> Path:
    """Two plain JSONL files, an archive and a text file, with a few records that cannot be read."""
    directory.mkdir(parents=True)
    chance = random.Random(seed)
    for name in ("a.jsonl", "b.jsonl"):
        with (directory / name).open("wb") as out:
            for text in documents(113, chance.randrange(10**9)):
                record = {"id": chance.randrange(1000), "text": text, "label": chance.randrange(3)}
                out.write(json.dumps(record, ensure_ascii=chance.random() < 0.5).encode() + b"\n")
            out.write(b'{"text": "broken \xff utf-8"}\n{"nothing": 1}\n\n{"text": ""}\n')
    with gzip.open(directory / "c.jsonl.gz", "wb") as out:
        out.writelines(json.dumps({"text": text}).encode() + b"\n" for text in documents(61, 7))
    (directory / "d.txt").write_text("\n\n".join(documents(37, 8)), encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dirty corpus; read only."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "raw")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of 500 tokens."""
    place = tmp_path_factory.mktemp("tokenizer")
    train_byte_bpe(documents(200, 3), 500).save(place)
    return place


@pytest.fixture
def small(corpus: Path, tokenizer: Path, tmp_path: Path) -> PipelineConfig:
    """A configuration that cuts the corpus into dozens of tasks and several shards."""
    return PipelineConfig(
        input=[str(corpus)], output=tmp_path / "dataset" / "x", tokenizer=tokenizer, workers=1,
        block_bytes=9000, shard_tokens=7000, val_fraction=0.1, test_fraction=0.05, max_bad_fraction=0.2,
    )  # fmt: skip


def arguments(config: PipelineConfig) -> list[str]:
    """The command line that gives `config`."""
    options: list[str] = []
    for key, value in config.model_dump(mode="json", exclude_defaults=True).items():
        values = value if isinstance(value, list) else ["null" if value is None else str(value)]
        options += [f"--{key}", *values]
    return options


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `python -m pipeline.process` in `tmp_path`, with a failpoint if given."""

    def start(*options: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MATECONV_FAILPOINT": failpoint}
        return subprocess.run(
            [sys.executable, "-m", "pipeline.process", *options],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return start


class InProcess:
    """An executor in this process, which spares the start of workers; `order` puts the tasks into another order."""

    def __init__(self, setup: MapSetup, order: Callable[[list[Any]], list[Any]] = list) -> None:
        self._setup, self._order = setup, order

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    def stop(self) -> None: ...

    def run(self, tasks: list[Any], done: Any, progress: Callable[[int], object]) -> Outcome:
        ledger, mapper = Ledger(self._order(tasks), done), Mapper(self._setup)
        while ledger.outcome.mismatch is None and (task := ledger.take()) is not None:
            ledger.settle(task, answer(mapper, task, lambda size: None))
        return ledger.outcome


def plain_cleaning(text: str) -> str:
    """The documented cleaning, written plainly once more."""
    text = "".join(c.encode("latin-1").decode("cp1252", "ignore") or c if "\x80" <= c < "\xa0" else c for c in text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
    text = re.sub(r"<br[ \t]*/?>", "\n", text, flags=re.IGNORECASE)
    text = unicodedata.normalize("NFC", text).strip()
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text))


def lock_of(output: Path) -> Path:
    """The lock file of the dataset at `output`."""
    return place_of(PipelineConfig(input=["any.jsonl"], output=output)).lock


def digests(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below `directory` but `report/`, by relative path."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.relative_to(directory).parts[0] != "report"
    }


@pytest.fixture(autouse=True)
def _usual_audit_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_audit.build_dense_wrong` runs in this process too; later tests must not see what it changed."""
    monkeypatch.setattr(audit, "SELECT_ONE_IN", audit.SELECT_ONE_IN)
