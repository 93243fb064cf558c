from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.loading import load_trained
from generation.text import TextGenerator
from model.decoder import Decoder
from model.loading import find_model
from tokenization.tokenizer import Tokenizer

CONFIG = GenerationConfig(seed=1, max_new_tokens=13)


def _checkpoint(path: Path, decoder: Decoder, tokenizer: Tokenizer, **changes: Any) -> None:
    content: dict[str, Any] = {
        "format": "mateconv-checkpoint",
        "version": 1,
        "model": decoder.state_dict(),
        "model_config": decoder.config.model_dump(),
        "vocab_size": decoder.vocab_size,
        "tokenizer_files": tokenizer.files(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content | changes, path)


def _touch(path: Path, time: int) -> None:
    os.utime(path, (time, time))


def test_a_run_prefers_best_then_final_then_the_checkpoint(
    run_directory: Path, make_model: Callable[..., Decoder], tokenizer: Tokenizer
) -> None:
    shutil.copytree(run_directory / "best", run_directory / "final")
    _checkpoint(run_directory / "ckpt.pth", make_model(), tokenizer)
    assert find_model(run_directory) == run_directory / "best"
    assert find_model(run_directory / "final") == run_directory / "final"
    shutil.rmtree(run_directory / "best")
    assert find_model(run_directory) == run_directory / "final"
    shutil.rmtree(run_directory / "final")
    assert find_model(run_directory) == run_directory / "ckpt.pth"


def test_a_model_whose_replacement_was_interrupted_is_found_and_left_where_it_is(
    run_directory: Path, make_model: Callable[..., Decoder], tokenizer: Tokenizer
) -> None:
    shutil.copytree(run_directory / "best", run_directory / "final")
    _checkpoint(run_directory / "ckpt.pth", make_model(), tokenizer)
    expected = TextGenerator.from_path(run_directory, "cpu", "float32").generate("the cat", CONFIG)
    aside = (run_directory / "best").rename(run_directory / ".tmp-old-best")
    assert find_model(run_directory) == find_model(run_directory / "best") == aside
    assert find_model(None, run_directory.parent) == aside
    assert TextGenerator.from_path(run_directory / "best", "cpu", "float32").generate("the cat", CONFIG) == expected
    assert sorted(path.name for path in run_directory.iterdir()) == [".tmp-old-best", "ckpt.pth", "final"]
    shutil.copytree(aside, run_directory / "best")  # the second rename came, the old model is not yet removed
    assert find_model(run_directory) == find_model(run_directory / "best") == run_directory / "best"


def test_the_default_is_the_newest_run_below_out(run_directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"python train\.py"):
        find_model(None, out)
    for time, run in enumerate([out, out / "finetune" / "poems", out / "other"]):
        for name in ("best", "final"):
            shutil.copytree(run_directory / "best", run / name)
            _touch(run / name / "config.json", 1000 + time)
    _touch(out / "other" / "final" / "config.json", 10)  # best/ is what counts
    assert find_model(None, out) == out / "other" / "best"
    _touch(out / "best" / "config.json", 2000)
    assert find_model(None, out) == out / "best"
    hidden = out / "checkpoints" / "ckpt.pth"
    hidden.parent.mkdir()
    hidden.write_bytes(b"")
    assert find_model(None, out) == out / "best"


def test_a_checkpoint_speaks_like_its_model_directory(
    run_directory: Path, make_model: Callable[..., Decoder], tokenizer: Tokenizer
) -> None:
    _checkpoint(run_directory / "checkpoints" / "step_000003.pth", make_model(), tokenizer)
    expected = TextGenerator.from_path(run_directory, "cpu", "float32").generate("the cat", CONFIG)
    checkpoint = TextGenerator.from_path(run_directory / "checkpoints" / "step_000003.pth", "cpu", "float32")
    assert checkpoint.generate("the cat", CONFIG) == expected
    assert not checkpoint.can_chat


def test_dtype_is_applied(run_directory: Path) -> None:
    assert load_trained(run_directory, "cpu", torch.bfloat16).model.head_weight.dtype == torch.bfloat16
    assert load_trained(run_directory, "cpu", None).model.head_weight.dtype == torch.float32


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch /tmp/mateconv-attack",))


def test_hostile_and_damaged_checkpoints_are_named_and_run_nothing(
    tmp_path: Path, make_model: Callable[..., Decoder], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    path = tmp_path / "ckpt.pth"
    _checkpoint(path, make_model(), tokenizer)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damages = [b"", b"\0" * 100, whole[: len(whole) // 2], bytes(flipped), pickle.dumps(Attack())]
    for damage in damages:
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"ckpt\.pth: (truncated or )?damaged"):
            load_trained(path, "cpu", None)
    torch.save({"model": Attack()}, path)
    with pytest.raises(UserError, match="is refused"):
        load_trained(path, "cpu", None)
    assert not called


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vocab_size": None}, "not a checkpoint that train.py wrote"),
        ({"model_config": {"hidden_sise": 3}}, "model_config"),
        ({"vocab_size": 77}, "shape"),
        ({"model": {}}, "lacks the tensors"),
        ({"tokenizer_files": {}}, "tokenizer.json"),
    ],
)
def test_checkpoints_that_do_not_fit_are_named(
    tmp_path: Path, make_model: Callable[..., Decoder], tokenizer: Tokenizer, changes: dict[str, Any], says: str
) -> None:
    path = tmp_path / "ckpt.pth"
    _checkpoint(path, make_model(), tokenizer, **changes)
    with pytest.raises(UserError, match=says) as caught:
        load_trained(path, "cpu", None)
    assert "ckpt.pth" in str(caught.value)


def test_other_paths_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for path, says in (
        (tmp_path / "missing", "no such model"),
        (tmp_path / "model.gguf", "not a .pth checkpoint"),
        (tmp_path, "holds no model"),
    ):
        with pytest.raises(UserError, match=says):
            find_model(path)


def test_a_model_directory_without_tokenizer_is_named(run_directory: Path) -> None:
    (run_directory / "best" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        load_trained(run_directory, "cpu", None)
