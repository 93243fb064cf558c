"""The task classify on CUDA: trained, judged and resumed there, with the numbers of a CPU."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.training.finetuning.conftest import good

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_trains_and_resumes(tuned: Any, dtype: str) -> None:
    flags = ("--device", "cuda", "--dtype", dtype, "--layer_lr_decay", "0.8", "--out_dir", "out")
    good(tuned.call(*flags, "--max_steps", "4"))
    good(tuned.call(*flags, "--max_steps", "8", "--resume"))
    assert [row["step"] for row in tuned.rows()] == list(range(1, 9))
    found = json.loads((tuned.directory / "out" / "test_metrics.json").read_text())
    assert found["documents"] == 28 and 0.05 <= found["temperature"] <= 20


def test_float32_agrees_with_the_cpu(tuned: Any) -> None:
    for device in ("cpu", "cuda"):
        good(tuned.call("--device", device, "--tf32", "false", "--max_steps", "4", "--out_dir", device))
    for cpu, gpu in zip(tuned.rows("cpu"), tuned.rows("cuda"), strict=True):
        assert gpu["loss"] == pytest.approx(cpu["loss"], abs=2e-3)
    cpu, gpu = (json.loads((tuned.directory / name / "test_metrics.json").read_text()) for name in ("cpu", "cuda"))
    assert gpu["loss"] == pytest.approx(cpu["loss"], abs=2e-3)
