"""The command with tiny encoders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import TINY_RUN, Command

TINY_ENCODER = ["--hidden_size", "24", "--num_hidden_layers", "2", "--num_attention_heads", "4"]
TINY_ENCODER += ["--max_position_embeddings", "29", *TINY_RUN, "--max_seq_len", "29"]


@pytest.fixture
def encoder(tmp_path: Path, dataset: Path) -> Command:
    """`--task mlm` on the tiny dataset, with out_dir `out` below `tmp_path`."""
    return Command(tmp_path, [*TINY_ENCODER, "--task", "mlm", "--train_data_path", str(dataset)])
