"""The command with tiny encoders, and with a tiny decoder that learns to chat."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import TINY_MODEL, TINY_RUN, Command
from tests.training.tasks.conversations import LENGTH, write_chat_data
from tokenization.tokenizer import Tokenizer

TINY_ENCODER = ["--hidden_size", "24", "--num_hidden_layers", "2", "--num_attention_heads", "4"]
TINY_ENCODER += ["--max_position_embeddings", "29", *TINY_RUN, "--max_seq_len", "29"]


@pytest.fixture
def encoder(tmp_path: Path, dataset: Path) -> Command:
    """`--task mlm` on the tiny dataset, with out_dir `out` below `tmp_path`."""
    return Command(tmp_path, [*TINY_ENCODER, "--task", "mlm", "--train_data_path", str(dataset)])


@pytest.fixture(scope="session")
def chat_data(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A dataset of conversations and other documents."""
    return write_chat_data(tmp_path_factory.mktemp("data") / "talk", tokenizer)


@pytest.fixture
def chat(tmp_path: Path, chat_data: Path) -> Command:
    """`--task chat` on it, with out_dir `run` below `tmp_path`."""
    base = [*TINY_MODEL, *TINY_RUN, "--max_seq_len", str(LENGTH), "--task", "chat", "--train_data_path", str(chat_data)]
    return Command(tmp_path, [*base, "--preflight", "false", "--out_dir", "run"])
