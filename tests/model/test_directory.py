from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from foundation.cli import describe_os_error
from foundation.errors import UserError
from model import directory
from model.architectures import settled
from model.decoder import Decoder
from model.directory import load_model_directory, save_model_directory

Make = Callable[..., Decoder]
TOKENIZER = {"tokenizer.json": b"{\xff opaque", "chat_template.jinja": b"{{ messages }}"}


@pytest.fixture
def saved(make_decoder: Make, tmp_path: Path) -> Path:
    save_model_directory(
        tmp_path / "m",
        make_decoder(),
        tokenizer_files=TOKENIZER,
        generation={"eos_token_id": 0, "bos_token_id": None},
        mateconv={"step": 5},
    )
    return tmp_path / "m"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_others_may_read_what_the_umask_lets_them(
    make_decoder: Make, tmp_path: Path, umask: int, file: int, folder: int
) -> None:
    before = os.umask(umask)
    try:
        save_model_directory(tmp_path / "m", make_decoder(), tokenizer_files=TOKENIZER, generation=None, mateconv={})
    finally:
        os.umask(before)
    assert tmp_path.joinpath("m").stat().st_mode & 0o777 == folder
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "m").iterdir()}
    assert "model.safetensors" in modes and modes == dict.fromkeys(modes, file)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize("limit", [300, 5000])
def test_a_full_disk_is_an_operating_system_error_and_leaves_the_old_model(
    make_decoder: Make, saved: Path, limit: int
) -> None:
    """The first limit is too small for config.json already, the second for the weights alone."""
    import resource

    before, (soft, hard) = load_file(saved / "model.safetensors"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError) as caught:
            save_model_directory(saved, make_decoder(seed=1), tokenizer_files=TOKENIZER, generation=None, mateconv={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert describe_os_error(caught.value) == f"{saved}: {os.strerror(errno.EFBIG)}"
    assert [path.name for path in saved.parent.iterdir()] == ["m"]
    after = load_file(saved / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_other_faults_of_the_library_stay_what_they_are(
    make_decoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: invalid header")

    monkeypatch.setattr(directory, "save_file", fail)
    with pytest.raises(SafetensorError, match="invalid header"):
        save_model_directory(tmp_path / "m", make_decoder(), tokenizer_files={}, generation=None, mateconv={})
    assert not list(tmp_path.iterdir())


def test_round_trip(make_decoder: Make, saved: Path) -> None:
    loaded = load_model_directory(saved)
    assert loaded.tokenizer_files == TOKENIZER
    assert loaded.generation == {"eos_token_id": 0}
    assert loaded.mateconv == {"step": 5}
    written = settled(make_decoder().config, ["llama"], ())
    assert loaded.config.model_dump(exclude={"head_dim"}) == written.model_dump(exclude={"head_dim"})
    assert not loaded.model.training
    tokens = torch.randint(0, 101, (2, 13))
    with torch.no_grad():
        assert torch.equal(loaded.model(tokens), make_decoder()(tokens))


@pytest.mark.parametrize("tied", [True, False])
def test_tensors_have_llamas_names_and_no_padding(make_decoder: Make, tmp_path: Path, tied: bool) -> None:
    model = make_decoder(tie_word_embeddings=tied, qk_norm=True, num_hidden_layers=1)
    save_model_directory(tmp_path / "m", model, tokenizer_files={}, generation=None, mateconv={})
    shapes = {name: tuple(t.shape) for name, t in load_file(tmp_path / "m" / "model.safetensors").items()}
    block = "model.layers.0."
    assert shapes == {
        "model.embed_tokens.weight": (101, 30),
        "model.norm.weight": (30,),
        block + "input_layernorm.weight": (30,),
        block + "post_attention_layernorm.weight": (30,),
        block + "self_attn.q_proj.weight": (30, 30),
        block + "self_attn.k_proj.weight": (10, 30),
        block + "self_attn.v_proj.weight": (10, 30),
        block + "self_attn.o_proj.weight": (30, 30),
        block + "self_attn.q_norm.weight": (10,),
        block + "self_attn.k_norm.weight": (10,),
        block + "mlp.gate_proj.weight": (37, 30),
        block + "mlp.up_proj.weight": (37, 30),
        block + "mlp.down_proj.weight": (30, 37),
    } | ({} if tied else {"lm_head.weight": (101, 30)})


def test_a_failed_save_leaves_the_old_model(make_decoder: Make, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directory, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_model_directory(saved, make_decoder(seed=1), tokenizer_files={}, generation=None, mateconv={})
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before
    assert [entry.name for entry in saved.parent.iterdir()] == ["m"]


def test_saving_replaces_the_whole_directory(make_decoder: Make, saved: Path) -> None:
    save_model_directory(saved, make_decoder(seed=1), tokenizer_files={}, generation=None, mateconv={})
    names = {file.name for file in saved.iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors"}
    assert [entry.name for entry in saved.parent.iterdir()] == ["m"]


@pytest.mark.parametrize("name", ["../evil", "config.json", "model.safetensors", "/tmp/x", "sub/tokenizer.json"])
def test_only_tokenizer_files_are_carried(make_decoder: Make, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not the name of a tokenizer file"):
        save_model_directory(tmp_path / "m", make_decoder(), tokenizer_files={name: b""}, generation=None, mateconv={})
    assert list(tmp_path.iterdir()) == []


def _change(saved: Path, **values: Any) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_parameters"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": 33}, "shape"),
        ({"vocab_size": 100}, "shape"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"num_hidden_layers": 4}, "lacks the tensors"),
        ({"num_hidden_layers": 2}, "unknown tensors"),
        ({"model_type": "qwen3"}, "lacks the tensors"),
        ({"tie_word_embeddings": False}, "lm_head"),
        ({"dtype": "int8"}, "int8"),
        ({"mateconv": [1]}, "mateconv"),
    ],
)
def test_a_config_that_does_not_fit_is_named(saved: Path, values: dict[str, Any], says: str) -> None:
    _change(saved, **values)
    with pytest.raises(UserError, match=says) as caught:
        load_model_directory(saved)
    assert str(saved) in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json"])
@pytest.mark.parametrize("damage", ["empty", "half", "noise"])
def test_damaged_files_are_named(saved: Path, name: str, damage: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes({"empty": b"", "half": data[: len(data) // 2], "noise": b"\xff" * 64}[damage])
    with pytest.raises(UserError, match=name):
        load_model_directory(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_files_are_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(UserError, match=name):
        load_model_directory(saved)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model directory"):
        load_model_directory(tmp_path / "nothing")


def test_pickles_are_refused(saved: Path) -> None:
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(UserError, match="can run code"):
        load_model_directory(saved)


@pytest.mark.parametrize("name", ["../m/stolen.safetensors", "/etc/passwd", "..\\x.safetensors", "x.bin"])
def test_an_index_may_not_lead_elsewhere(saved: Path, name: str) -> None:
    (saved / "model.safetensors").rename(saved / "stolen.safetensors")
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(UserError, match="not a safetensors file of this directory"):
        load_model_directory(saved)


def test_integer_weights_are_refused(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int64)
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(UserError, match="int64"):
        load_model_directory(saved)


def test_between_the_renames_of_a_replacement_the_old_model_is_read_and_stays_where_it_is(
    make_decoder: Make, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, read = os.rename, []

    def reading(source: Path, target: Path) -> None:
        if target == saved:
            assert not saved.exists()
            read.append(load_model_directory(saved).mateconv)
        rename(source, target)

    monkeypatch.setattr(os, "rename", reading)
    save_model_directory(saved, make_decoder(), tokenizer_files={}, generation=None, mateconv={"step": 7})
    assert read == [{"step": 5}] and load_model_directory(saved).mateconv == {"step": 7}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"num_hidden_layers": 10**7}, "lacks the tensors of 10000000 layers"),
        ({"vocab_size": 2**45}, "shape"),
        ({"hidden_size": 2**40, "head_dim": 8}, "shape"),
        ({"num_attention_heads": 2**30, "num_key_value_heads": 2**30, "head_dim": 2**30}, "impossible sizes"),
        ({"max_position_embeddings": 2**45}, "max_position_embeddings"),
        ({"bos_token_id": 101}, "bos_token_id is 101"),
        ({"eos_token_id": "2"}, "eos_token_id is '2'"),
        ({"eos_token_id": [[1]]}, "eos_token_id"),
        ({"mateconv": {"terminator": [-1]}}, "terminator"),
    ],
)
def test_sizes_and_ids_are_checked_before_memory_is_taken(saved: Path, values: dict[str, Any], says: str) -> None:
    (saved / "generation_config.json").unlink()
    _change(saved, **values)
    with pytest.raises(UserError, match=says):
        load_model_directory(saved)
