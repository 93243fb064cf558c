"""Freed memory stays in the process: pages are touched for the first time once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.devices.host_memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[2]
# A step takes and frees about 150 MB; glibc finds places for blocks of all sizes within a few steps.
PROGRAM = """
import resource, sys, torch
from training.devices.host_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory(torch.device("cpu"))
model = torch.nn.Sequential(torch.nn.Linear(7, 10007), torch.nn.GELU(), torch.nn.Tanh())
inputs = torch.randn(1009, 7)
for step in range(12):
    if step == 8:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(inputs).square().sum().backward()
    model.zero_grad()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads have arenas of their own, and wait for each other
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_that_was_touched_once_costs_no_faults_again() -> None:
    plain, kept = faults("plain"), faults("keep")
    if plain < 10_000:
        pytest.skip(f"this system's allocator keeps memory by itself ({plain} page faults)")
    assert kept < plain / 10


def test_memory_of_another_device_is_its_own_affair() -> None:
    assert not keep_freed_memory(torch.device("cuda"))
