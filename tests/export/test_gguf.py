"""GGUF files: read by the `gguf` package, by `transformers`, and compared with the model bit for bit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from export.gguf import export_gguf, main
from foundation.errors import UserError
from model.config import ModelConfig
from model.decoder import Decoder
from model.directory import load_model_directory, save_model_directory
from tests.export.conftest import value
from tests.generation.conftest import CHATML
from tokenization.tokenizer import Tokenizer

Directory = Callable[..., Path]
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"qk_norm": True, "head_dim": 8},
    "qwen2": {"qkv_bias": True},
}


def tensors(reader: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in reader.tensors}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", SHAPES)
def test_every_weight_is_there_bit_for_bit(written: Any, kind: str, tied: bool) -> None:
    directory, reader = written(**SHAPES[kind], tie_word_embeddings=tied)
    found = tensors(reader)
    assert value(reader, "general.architecture") == kind
    weights = load_file(directory / "model.safetensors")
    # The names of the specification, from the map of the gguf package itself.
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, kind.upper()), 2)
    assert len(found) == len(weights)
    size = SHAPES[kind].get("head_dim", 16)
    for name, weight in weights.items():
        tensor = found[str(names.get_name(name, try_suffixes=(".weight", ".bias")))]
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert list(tensor.shape) == list(reversed(weight.shape))  # ggml counts axes from the innermost
        expected = weight.numpy().copy()
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            for row in range(len(expected)):  # pairs of halves become neighbours
                head, place = divmod(row, size)
                expected[row] = weight[head * size + place % 2 * (size // 2) + place // 2].numpy()
        assert np.array_equal(tensor.data, expected), name


@pytest.mark.parametrize("kind", SHAPES)
def test_transformers_computes_the_same_from_the_file(written: Any, tmp_path: Path, kind: str) -> None:
    directory, reader = written(**SHAPES[kind], rope_theta=523.0, rms_norm_eps=0.01)
    config = AutoConfig.from_pretrained(tmp_path, gguf_file="m.gguf")
    config.head_dim = value(reader, f"{kind}.attention.key_length")  # of Qwen3 it does not ask the file
    theirs = AutoModelForCausalLM.from_config(config).eval()  # from_pretrained would need another package
    read = load_gguf_checkpoint(tmp_path / "m.gguf", return_tensors=True, model_to_load=theirs)["tensors"]
    assert theirs.load_state_dict(read, strict=False).missing_keys == ["lm_head.weight"]
    theirs.tie_weights()
    assert config.tie_word_embeddings
    tokens = torch.randint(0, 331, (2, 23), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        reference = theirs(tokens).logits
        assert (load_model_directory(directory).model(tokens) - reference).abs().max() < 1e-4
    assert reference.std() > 0.5


def test_the_metadata_say_what_the_specification_asks_for(written: Any, tokenizer: Tokenizer) -> None:
    chat = tokenizer.with_chat_template(CHATML)
    _, reader = written("f16", chat, rope_theta=523.0, max_position_embeddings=89)
    expected = {
        "general.architecture": "llama",
        "general.name": "m",
        "general.license": "mit",
        "general.file_type": 1,
        "general.quantization_version": 2,
        "llama.vocab_size": 331,
        "llama.context_length": 89,
        "llama.embedding_length": 48,
        "llama.block_count": 2,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 3,
        "llama.attention.head_count_kv": 1,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5),
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 523.0,
        "llama.rope.scaling.type": None,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 3,
        "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.mask_token_id": None,
        "tokenizer.ggml.seperator_token_id": None,  # (the specification spells it so)
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": CHATML,
    }
    assert {key: value(reader, key) for key in expected} == expected
    definition = json.loads(tokenizer.files()["tokenizer.json"])
    vocabulary = {**definition["model"]["vocab"], **{t["content"]: t["id"] for t in definition["added_tokens"]}}
    assert value(reader, "tokenizer.ggml.tokens") == sorted(vocabulary, key=vocabulary.__getitem__)
    assert value(reader, "tokenizer.ggml.token_type") == [3] * 7 + [1] * (331 - 7)
    assert [merge.split(" ") for merge in value(reader, "tokenizer.ggml.merges")] == definition["model"]["merges"]


@pytest.mark.parametrize(("dtype", "file_type"), [("f16", 1), ("bf16", 32), ("q8_0", 7)])
def test_number_formats(written: Any, dtype: str, file_type: int) -> None:
    directory, reader = written(dtype, qk_norm=True)  # nothing changes places
    found, weights = tensors(reader), load_file(directory / "model.safetensors")
    assert value(reader, "general.file_type") == file_type
    up, down = (weights[f"model.layers.1.mlp.{name}_proj.weight"] for name in ("up", "down"))  # (64, 48), (48, 64)
    kinds = {name: tensor.tensor_type.name for name, tensor in found.items()}
    assert {kinds[name] for name in kinds if "norm" in name} == {"F32"}
    matrices = {name for name in kinds if "norm" not in name}
    data = found["blk.1.ffn_down.weight"].data
    if dtype == "q8_0":
        assert kinds["blk.1.ffn_down.weight"] == "Q8_0" and {kinds[name] for name in matrices} == {"Q8_0", "F16"}
        blocks = down.reshape(48, 2, 32)
        scales = blocks.abs().amax(dim=-1) / 127
        raw = data.reshape(48, 2, 34)
        assert np.array_equal(raw[..., :2].copy().view(np.float16)[..., 0], scales.half().numpy())
        restored = torch.from_numpy(raw[..., 2:].copy().view(np.int8)) * scales[..., None]
        assert ((restored - blocks).abs() <= scales[..., None] * 0.501).all()
        assert np.array_equal(found["blk.1.ffn_up.weight"].data, up.half().numpy())  # rows of 48 hold no whole blocks
        return
    assert {kinds[name] for name in matrices} == {dtype.upper()}
    half = down.to(torch.float16 if dtype == "f16" else torch.bfloat16)
    assert np.array_equal(data.view(np.int16), half.view(torch.int16).numpy())


def test_a_model_in_bfloat16_stays_so(make_directory: Directory, tmp_path: Path) -> None:
    export_gguf(make_directory(dtype=torch.bfloat16), tmp_path / "m.gguf")
    assert tensors(gguf.GGUFReader(tmp_path / "m.gguf"))["output_norm.weight"].tensor_type.name == "F32"
    assert value(gguf.GGUFReader(tmp_path / "m.gguf"), "general.file_type") == 32


LLAMA3 = {"rope_type": "llama3", "factor": 5.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
          "original_max_position_embeddings": 23}  # fmt: skip


@pytest.mark.parametrize(("changes", "name"), [({"qk_norm": True}, "qwen3"), ({"qkv_bias": True}, "qwen2")])
def test_frequencies_that_llama_cpp_would_not_read_are_named(
    written: Any, tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    with pytest.raises(UserError, match=f"llama3's kind in a {name}: llama.cpp reads such frequencies in llama alone"):
        written(rope_scaling=LLAMA3, **changes)
    assert not list(tmp_path.glob("*.gguf"))


def test_stretched_frequencies(written: Any, tmp_path: Path) -> None:
    _, reader = written(rope_scaling=LLAMA3, rope_theta=100.0)
    config = LlamaConfig(hidden_size=48, num_attention_heads=3, rope_parameters={**LLAMA3, "rope_theta": 100.0})
    lowered, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 100.0 ** -(torch.arange(0, 16, 2) / 16)
    factors = tensors(reader)["rope_freqs.weight"].data
    assert np.allclose(factors, (plain / lowered).numpy(), rtol=1e-5) and factors.min() == 1 and factors.max() == 5
    _, reader = written(rope_scaling={"rope_type": "linear", "factor": 3.0})
    assert (value(reader, "llama.rope.scaling.type"), value(reader, "llama.rope.scaling.factor")) == ("linear", 3.0)
    assert "rope_freqs.weight" not in tensors(reader)


def test_what_no_gguf_is_made_of_is_named(make_directory: Directory, tmp_path: Path, monkeypatch: Any) -> None:
    directory = make_directory()
    with pytest.raises(UserError, match=r"ends with \.gguf"):
        export_gguf(directory, tmp_path / "m.bin")
    with pytest.raises(UserError, match="no such model"):
        export_gguf(tmp_path / "nothing", tmp_path / "m.gguf")
    large = load_model_directory(directory).model
    with torch.no_grad():
        large.embedding.weight[5, 5] = 1e5
    files = {name: (directory / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    save_model_directory(directory, large, tokenizer_files=files, generation={}, mateconv={})
    with pytest.raises(UserError, match=r"token_embd\.weight.*--dtype bf16"):
        export_gguf(directory, tmp_path / "m.gguf", "f16")
    with pytest.raises(UserError, match="no such model with biases"):
        export_gguf(make_directory(qkv_bias=True, head_dim=8), tmp_path / "m.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[gguf\]"'):
        export_gguf(directory, tmp_path / "m.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_encoder_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from model.build import new_model
    from model.encoder.heads import Heads

    config = ModelConfig(architecture="bert", hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    encoder = new_model(config, tokenizer.vocab_size, Heads(mlm=True))
    save_model_directory(tmp_path / "e", encoder, tokenizer_files=tokenizer.files(), generation=None, mateconv={})
    with pytest.raises(UserError, match="an encoder"):
        export_gguf(tmp_path / "e", tmp_path / "m.gguf")


def test_the_command_takes_a_run_directory(make_directory: Directory, tmp_path: Path, capsys: Any) -> None:
    make_directory().rename(tmp_path / "best")
    (tmp_path / "m.gguf").symlink_to("sub/m.gguf")
    assert main([str(tmp_path), "--output", str(tmp_path / "m.gguf"), "--dtype", "f16"]) == 0
    assert "m.gguf: 0." in capsys.readouterr().out
    assert (tmp_path / "m.gguf").is_symlink() and len(tensors(gguf.GGUFReader(tmp_path / "sub" / "m.gguf"))) == 20
    assert isinstance(load_model_directory(tmp_path / "best").model, Decoder)
