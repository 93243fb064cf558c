"""Tokens per second and MFU: against brute force over rows of documents, and DESIGN's formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from shards.dataset import Dataset
from training.throughput import Throughput, attended_within, mean_attended_length, throughput


@pytest.mark.parametrize("lengths", [[7], [1, 2, 3], [31, 5, 64, 200], [1000]])
def test_attended_length_by_counting(lengths: list[int]) -> None:
    rows = 16
    seen = [min(i, u) + 1 for length in lengths for i in range(length) for u in range(rows)]
    assert attended_within(lengths, rows) == pytest.approx(np.mean(seen))


def test_a_document_without_end_is_plain_causal_attention() -> None:
    assert attended_within([10**9], 128) == pytest.approx(129 / 2, rel=1e-6)


def test_a_dataset_with_and_without_the_mask(dataset: Path) -> None:
    opened = Dataset.open(dataset)
    lengths = [len(opened.document(number)) for number in range(opened.documents)]
    assert mean_attended_length(opened, 16, document_mask=True) == pytest.approx(attended_within(lengths, 16))
    assert mean_attended_length(opened, 16, document_mask=False) == 8.5


def test_mfu_is_the_formula() -> None:
    config = ModelConfig(
        hidden_size=12, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, intermediate_size=20
    )
    matrices = 3 * (12 * 12 * 2 + 2 * 12 * 6 + 3 * 12 * 20) + 12 * 101  # the head counts
    speed = throughput(config, 101, 8.5, 1.0, torch.device("cpu"), torch.float32, 2, 0.5)
    assert speed.flops_per_token == 6 * matrices + 12 * 3 * 12 * 8.5
    row = speed.columns(3000, 1.5)
    assert row == {"tokens_per_second": 2000.0, "mfu": round(2000 * speed.flops_per_token / 1e12, 4)}


def test_without_a_known_peak_there_is_no_mfu() -> None:
    config = ModelConfig()
    speed = throughput(config, 100, 8.5, 1.0, torch.device("cpu"), torch.float32, 1, None)
    assert speed.peak is None and Throughput(1e6, None).columns(10, 2) == {"tokens_per_second": 5.0}


def test_the_setting_puts_mfu_into_rows_and_lines(command: Any) -> None:
    done = command.call("--peak_tflops", "0.0001", "--max_steps", "2")
    assert done.returncode == 0, done.stderr
    lines = (command.directory / "out" / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["mfu"] > 0 for line in lines)
    assert "MFU " in (command.directory / "out" / "train.log").read_text()
