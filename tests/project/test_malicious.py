"""Files that strangers made: whatever stands in them, nothing is executed, nothing is written elsewhere, nothing hangs.

Every attack would leave a canary, a directory named CANARY, where it is made; each test looks for it.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from foundation.config import read_yaml
from foundation.errors import UserError
from generation.loading import load_trained
from generation.text import TextGenerator
from model.config import ModelConfig
from model.decoder import Decoder
from model.directory import load_model_directory, save_model_directory
from shards.dataset import Dataset
from tests.training.conftest import TINY_MODEL, TINY_RUN, Command, random_documents, write_dataset
from tokenization import template_sandbox
from tokenization.chat import render_chat
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe

CANARY = "canary"


class Hostile:
    """Unpickled, it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.canary,)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_byte_bpe(["the cat sat on the mat. " * 20], 280)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Where the canary would be. It is not there when the test has ended."""
    path = tmp_path / CANARY
    yield path
    assert not path.exists()
    assert not [found for found in tmp_path.rglob(CANARY)]


@pytest.fixture
def model(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A sound model directory that says it can chat."""
    shape: dict[str, Any] = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1)
    config = ModelConfig(**shape, intermediate_size=16, max_position_embeddings=64)
    end = tokenizer.roles.end_of_text
    ours = {"objective": "chat", "chat_trained": True, "terminator": [end]}
    save_model_directory(
        tmp_path / "run" / "best",
        Decoder(config, tokenizer.vocab_size),
        tokenizer_files=tokenizer.files(),
        generation={"eos_token_id": end},
        mateconv=ours,
    )
    return tmp_path / "run" / "best"


@pytest.fixture
def command(tmp_path: Path, tokenizer: Tokenizer) -> Command:
    documents = random_documents(1, 20, tokenizer.vocab_size)
    data = write_dataset(tmp_path / "data", tokenizer, documents, documents[:3])
    return Command(tmp_path, [*TINY_MODEL, *TINY_RUN, "--max_steps", "1", "--train_data_path", str(data)])


def checkpoints(canary: Path, tokenizer: Tokenizer) -> dict[str, Callable[[Path], object]]:
    """Ways to write a hostile checkpoint."""
    content = {
        "format": "mateconv-checkpoint", "version": 1, "model": {}, "model_config": {}, "vocab_size": 280,
        "tokenizer_files": tokenizer.files(), "state": Hostile(canary),
    }  # fmt: skip
    return {
        "torch": lambda path: torch.save(content, path),
        "old torch": lambda path: torch.save(content, path, _use_new_zipfile_serialization=False),
        "pickle": lambda path: path.write_bytes(pickle.dumps(content)),
    }


def test_the_attack_is_one(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for name, write in checkpoints(tmp_path / CANARY, tokenizer).items():
        write(tmp_path / "ckpt.pth")
        if name == "pickle":
            pickle.loads((tmp_path / "ckpt.pth").read_bytes())
        else:
            torch.load(tmp_path / "ckpt.pth", weights_only=False)
        (tmp_path / CANARY).rmdir()


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle"])
def test_a_hostile_checkpoint_is_refused_by_inference_and_by_a_resume(
    kind: str, canary: Path, tmp_path: Path, tokenizer: Tokenizer, command: Command
) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "ckpt.pth"
    checkpoints(canary, tokenizer)[kind](path)
    for where in (path, tmp_path / "out"):
        with pytest.raises(UserError, match=r"ckpt\.pth: .*(refused|damaged)"):
            load_trained(where, "cpu", None)
    for flags in (("--resume_from", str(path)), ("--resume",)):
        done = command.call(*flags)
        assert done.returncode == 2 and "ckpt.pth" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "consolidated.00.pth"])
def test_pickled_weights_are_not_read(name: str, canary: Path, model: Path, command: Command) -> None:
    (model / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Hostile(canary)}, model / name)
    with pytest.raises(UserError, match=f"{name} is not read, because such files can run code"):
        load_trained(model, "cpu", None)
    done = command.call("--init_from", str(model))
    assert done.returncode == 2 and "can run code" in done.stderr


def test_pickles_beside_sound_files_are_left_alone(canary: Path, model: Path, tmp_path: Path, command: Command) -> None:
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin", "scheduler.pt"):
        torch.save(Hostile(canary), model / name)
    (model / "tokenization_custom.py").write_text(f"import os; os.mkdir({str(canary)!r})")
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "tokenization_custom.Model"}
    (model / "config.json").write_text(json.dumps(config))
    assert load_trained(model, "cpu", None).mateconv["chat_trained"]
    np.arange(99, dtype="<u2").tofile(tmp_path / "train.bin")
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(Hostile(canary)))  # nanoGPT's
    assert Dataset.open(tmp_path / "train.bin").tokens == 99
    records = next((tmp_path / "data" / "train").glob("*.docs.npy"))
    size = records.stat().st_size
    np.save(records, np.array([Hostile(canary)], dtype=object), allow_pickle=True)
    records.write_bytes(records.read_bytes().ljust(size, b"\0")[:size])
    with pytest.raises(UserError, match=r"docs\.npy: damaged document records"):
        Dataset.open(tmp_path / "data")


ESCAPES = [
    "{{ cycler.__init__.__globals__.os.mkdir(%r) }}",
    "{{ namespace.__init__.__globals__['os'].mkdir(%r) }}",
    "{{ raise_exception.__globals__.__builtins__.__import__('os').mkdir(%r) }}",
    "{%% for c in ''.__class__.__mro__[1].__subclasses__() %%}{{ c.__init__.__globals__.os.mkdir(%r) }}{%% endfor %%}",
    "{{ (messages|attr('__class__')|attr('__mro__'))[1].__subclasses__()[0](%r) }}",
    "{{ messages|map(attribute='__class__.__mro__')|list|string ~ [].__class__(%r) }}",
    "{{ '{0.__class__.__init__.__globals__[os]}'.format(messages).mkdir(%r) }}",
    "{%% import 'os' as os %%}{{ os.mkdir(%r) }}",
    "{{ messages.append(%r) }}{{ messages[0].update(role='system') }}",
]
ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(10**12) %}{% endfor %}",
    "{{ 9**(9**9) }}",
    "{{ 'a' * 9999999999 }}",
    "{{ '%9999999999d' % 1 }}{{ '{:>9999999999}'.format('') }}",
    "{{ '{:>{w}}'.format('', w=9999999999) }}",
    "{{ ''.ljust(9999999999) }}",
    "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=1) %}{% macro m() %}{% set ns.x = varargs %}{% endmacro %}"
    "{% for i in range(60) %}{{ m(ns.x, ns.x) }}{% endfor %}{{ ns.x }}",
    "{% set x = 'a' * 1000000 %}{% set y %}{% for i in range(99999) %}{{ x }}{% endfor %}{% endset %}",
    "{% set x = 'a' * 1000000 %}{{ x|replace('a', x) }}",
    "{% set x = 'a' * 1000000 %}{{ x|join(x) }}",
    "{{ ('a\n' * 1000000)|indent(1000000) }}",
    "{{ messages|tojson(indent=1000000000) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ " + "+".join(["1"] * 20000) + " }}",
]


@pytest.mark.timeout(60)
def test_a_hostile_template_is_refused(canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_sandbox, "STEPS", template_sandbox.STEPS // 20)
    messages = [{"role": "user", "content": "x"}]
    for template in [*(text % str(canary) for text in ESCAPES), *ENDLESS]:
        with pytest.raises(UserError, match="chat template"):
            render_chat(messages, template)
    assert messages == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_model_with_a_hostile_template_does_not_chat(file: str, canary: Path, model: Path) -> None:
    template = ESCAPES[0] % str(canary) + ENDLESS[0]
    (model / file).write_text(template if file.endswith("jinja") else json.dumps({"chat_template": template}))
    generator = TextGenerator.from_path(model, "cpu", "float32")
    assert generator.can_chat
    with pytest.raises(UserError, match="chat template"):
        generator.chat([{"role": "user", "content": "x"}])


@pytest.mark.parametrize("name", ["../canary/w.safetensors", "/etc/passwd", "..\\canary.safetensors", "canary.bin"])
def test_an_index_leads_nowhere_else(name: str, canary: Path, model: Path) -> None:
    (model / "model.safetensors").rename(model.parent / "w.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(UserError, match="is not a safetensors file of this directory"):
        load_model_directory(model)


@pytest.mark.parametrize("name", [f"../{CANARY}", f"/{CANARY}", f"a/../../{CANARY}", f"..\\{CANARY}"])
def test_names_in_a_checkpoint_or_manifest_lead_nowhere_else(
    name: str, canary: Path, tmp_path: Path, tokenizer: Tokenizer, command: Command
) -> None:
    kept = Tokenizer.from_files({**tokenizer.files(), name: b"x"})
    kept.save(tmp_path / "saved")
    assert {file.name for file in (tmp_path / "saved").iterdir()} == set(tokenizer.files())
    with pytest.raises(UserError, match="not the name of a tokenizer file"):
        save_model_directory(
            tmp_path / "m", Decoder(ModelConfig(hidden_size=16), 9), tokenizer_files={name: b"x"}, generation=None,
            mateconv={},
        )  # fmt: skip
    manifest = tmp_path / "data" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["splits"]["train"]["shards"][0]["name"] = name
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match="damaged manifest"):
        Dataset.open(tmp_path / "data")


def _header(value: object, body: bytes = bytes(64)) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text + body


def _tensor(shape: list[int], end: int, dtype: str = "F32") -> dict[str, object]:
    return {"model.norm.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


HEADERS = {
    "length": struct.pack("<Q", 2**63) + b"{}",
    "beyond the file": struct.pack("<Q", 99_000_000) + b"{",
    "nested": _header(b'{"a":' * 100_000),
    "no object": _header([1]),
    "end": _header(_tensor([16], 2**60)),
    "negative": _header(_tensor([-16], 64)),
    "huge": _header(_tensor([2**40, 2**40], 64)),
    "overlap": _header(_tensor([16], 64) | {"b": _tensor([16], 64)["model.norm.weight"]}),
    "type": _header(_tensor([16], 64, "PY_OBJECT")),
    "metadata": _header({"__metadata__": {"format": ["pickle"]}}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused(name: str, canary: Path, model: Path) -> None:
    (model / "model.safetensors").write_bytes(HEADERS[name])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged safetensors file"):
        load_model_directory(model)


def test_nested_json_ends_in_a_line(canary: Path, model: Path, tmp_path: Path, command: Command) -> None:
    for file, read in (
        (model / "tokenizer_config.json", lambda: load_trained(model, "cpu", None)),
        (model / "tokenizer.json", lambda: load_trained(model, "cpu", None)),
        (model / "config.json", lambda: load_model_directory(model)),
        (tmp_path / "data" / "manifest.json", lambda: Dataset.open(tmp_path / "data")),
    ):
        before = file.read_bytes()
        file.write_bytes(b"[" * 200_000)
        with pytest.raises(UserError, match=file.name):
            read()
        file.write_bytes(before)


def test_a_pattern_that_tries_for_ever_ends_in_a_line(tokenizer: Tokenizer) -> None:
    definition = tokenizer.json()
    split = {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False}
    definition["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, definition["pre_tokenizer"]]}
    hostile = Tokenizer.from_files({**tokenizer.files(), "tokenizer.json": json.dumps(definition).encode()})
    for call in (lambda: hostile.encode("a" * 40), lambda: hostile.encode_ids(["a" * 40])):
        with pytest.raises(UserError, match="fails on this text"):
            call()


def test_yaml_makes_no_objects(canary: Path, tmp_path: Path, command: Command) -> None:
    text = f"training:\n  out_dir: !!python/object/apply:os.mkdir [{str(canary)!r}]\n"
    assert yaml.unsafe_load(f"!!python/object/apply:os.mkdir [{str(canary)!r}]") is None
    canary.rmdir()
    (tmp_path / "hostile.yaml").write_text(text)
    with pytest.raises(UserError, match=r"hostile\.yaml:2: not valid YAML"):
        read_yaml(tmp_path / "hostile.yaml")
    done = command.call("--config", "hostile.yaml")
    assert done.returncode == 2 and "not valid YAML" in done.stderr
