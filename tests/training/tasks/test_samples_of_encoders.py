"""Samples of an encoder in training: what its final model fills in; they change nothing; checkpoints answer alike."""

from __future__ import annotations

import json
from pathlib import Path

from generation.encoder.show import masks_line
from generation.encoder.text import TextEncoder
from tests.training.conftest import Command

PROMPT = "the [MASK] sat on the [MASK]"
SAMPLES = ["--sample_prompts", "", PROMPT, "no mask", "--sample_tokens", "7"]


def test_the_last_are_what_the_final_model_fills_in(encoder: Command, tmp_path: Path) -> None:
    done = encoder.call(*SAMPLES, "--use_ema", "true", "--dropout", "0.1")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [(row["step"], row["prompt"]) for row in rows] == [(step, PROMPT) for step in (5, 10, 12)]
    final = TextEncoder.from_path(tmp_path / "out" / "final", "cpu", "float32")
    assert rows[-1]["text"] == masks_line(final.fill_mask(PROMPT))
    assert f"sample: {PROMPT} → {rows[-1]['text']}" in done.stdout
    assert encoder.call("--out_dir", "without", "--use_ema", "true", "--dropout", "0.1").returncode == 0
    weights = [(tmp_path / out / "final" / "model.safetensors").read_bytes() for out in ("out", "without")]
    assert weights[0] == weights[1]


def test_a_checkpoint_answers_like_the_model_made_from_it(encoder: Command, tmp_path: Path) -> None:
    assert encoder.call("--architecture", "modernbert").returncode == 0
    final, checkpoint = (
        TextEncoder.from_path(tmp_path / "out" / name, "cpu", "float32") for name in ("final", "ckpt.pth")
    )
    assert final.fill_mask(PROMPT) == checkpoint.fill_mask(PROMPT)
    assert final.similarity("the cat", "a rat") == checkpoint.similarity("the cat", "a rat")
    long = "the cat sat on the mat, " * 9  # longer than the 29 tokens of training: both cut it alike
    assert (final.embed([long]) == checkpoint.embed([long])).all()
