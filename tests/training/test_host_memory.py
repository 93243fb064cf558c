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
# A step takes and frees about 150 MB in blocks of 40, which glibc by itself always maps anew. Kept, all find their
# places within a few steps, seldom one of them later.
PROGRAM = """
import resource, sys, torch
from training.devices.host_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory(torch.device("cpu"))
model = torch.nn.Sequential(torch.nn.Linear(7, 5003), torch.nn.GELU(), torch.nn.Tanh())
inputs = torch.randn(2003, 7)
for step in range(9):
    if step == 6:
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_kept_memory_can_be_given_back() -> None:
    """200 MB in pieces, all but the last of them freed: the heap stays as it is until it is asked."""
    program = """
import torch
from training.devices.free_memory import resident
from training.devices.host_memory import give_back_freed_memory, keep_freed_memory
if not keep_freed_memory(torch.device("cpu")):
    raise SystemExit(5)
pieces = [torch.ones(2_500_000) for _ in range(20)]
del pieces[:-1]
before = resident()
give_back_freed_memory()
print(before - resident(), float(pieces[0].sum()))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    if done.returncode == 5:
        pytest.skip("not glibc")
    given_back, intact = done.stdout.split()
    assert int(given_back) > 180_000_000 and float(intact) == 2_500_000, done.stderr


def test_memory_of_another_device_is_its_own_affair() -> None:
    assert not keep_freed_memory(torch.device("cuda"))
