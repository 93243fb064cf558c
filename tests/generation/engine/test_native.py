from __future__ import annotations

import platform
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from generation.engine.choose import runner_for
from generation.engine.native import building
from generation.engine.native.runner import NativeRunner
from generation.engine.quantized import Int8
from generation.engine.runner import EagerRunner, Part
from model.decoder import Decoder
from model.kv_cache import KVCache

Make = Callable[..., Decoder]
SHAPES: dict[str, dict[str, Any]] = {
    "odd sizes": {},
    "normalised queries, own head": {"qk_norm": True, "tie_word_embeddings": False},
    "wide heads in groups": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 48},
    "biases, a head for each": {"num_key_value_heads": 3, "head_dim": 80, "qkv_bias": True, "rope_theta": 523.0},
}
compiled = pytest.mark.skipif(building.find_compiler() is None, reason="no C++ compiler")


@pytest.fixture
def fresh() -> Iterator[None]:
    """The library is loaded anew, and again afterwards."""
    building.library.cache_clear()
    yield
    building.library.cache_clear()


def _model(make_model: Make, **shape: Any) -> Decoder:
    model = make_model(**shape)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # norms are ones and biases zeros where nothing was learnt
                parameter.normal_(1.0 if "norm" in name else 0.0, 0.5)
    return model


def _cache(model: Decoder) -> KVCache:
    return KVCache(model.config, 5, 97, device=model.device, dtype=model.dtype)


def _native(model: Decoder, quantized: Int8 | None = None) -> NativeRunner:
    runner = NativeRunner.where_possible(model, _cache(model), quantized)
    assert runner is not None
    return runner


def _texts(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 331, (97,), generator=generator).tolist() for _ in range(count)]


@compiled
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_logits_are_the_models(make_model: Make, shape: str) -> None:
    """Prompts, single tokens and pieces of several texts in one pass, several logits of one text among them."""
    model = _model(make_model, **SHAPES[shape])
    first, second = _texts(2)
    expected = model(torch.tensor([first, second]))
    runner = _native(model)
    passes = [
        ([Part(2, first[:17]), Part(0, second[:5], 3)], [(0, 16), (1, 2), (1, 3), (1, 4)]),
        ([Part(0, second[5:6]), Part(2, first[17:18], 0)], [(1, 5)]),
        ([Part(2, first[18:19]), Part(0, second[6:13], 7)], [(0, 18), *[(1, n) for n in range(6, 13)]]),
        ([Part(2, first[19:97])], [(0, 96)]),
    ]
    for parts, places in passes:
        logits = runner.read(parts)
        wanted = torch.stack([expected[text, place] for text, place in places])
        assert (logits - wanted).abs().max() < 5e-4 and wanted.abs().max() > 3


@compiled
@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this kind")
@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
@torch.inference_mode()
def test_registers_of_other_widths(
    fresh: None, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processor: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flags = [f"-march={processor}" if flag.startswith("-march") else flag for flag in building.FLAGS]
    monkeypatch.setattr(building, "FLAGS", tuple(flags))
    for quantize in (False, True):
        model = _model(make_model, **SHAPES["wide heads in groups"])
        quantized, text = Int8.of(model) if quantize else None, _texts(1)[0]
        plain = runner_for(model, _cache(model), quantized, False).read([Part(0, text, 97)])
        at_once = _native(model, quantized).read([Part(0, text, 97)])
        assert (at_once - plain).abs().max() < 1e-3
        alone = _native(model, quantized)
        assert all(torch.equal(alone.read([Part(0, [token])])[0], at_once[n]) for n, token in enumerate(text))


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@torch.inference_mode()
def test_a_text_has_the_same_bits_whatever_is_read_beside_it(make_model: Make, dtype: torch.dtype) -> None:
    model = _model(make_model)
    quantized = Int8.of(model) if dtype == torch.int8 else None
    model = model if quantized is not None else model.to(dtype)
    texts = _texts(5)
    alone = _native(model, quantized)
    expected = torch.cat([alone.read([Part(0, [token])]).clone() for token in texts[0][:61]])
    at_once = _native(model, quantized).read([Part(3, texts[0][:61], 61)])
    assert torch.equal(at_once, expected)
    beside = _native(model, quantized)
    for slot in (1, 4):
        beside.read([Part(slot, texts[slot][: 7 * slot], 0)])
    beside.read([Part(0, texts[0][:30], 0), Part(2, texts[2][:13], 0)])
    for place in range(30, 61):
        parts = [Part(slot, [texts[slot][place]]) for slot in (4, 0, 1, 2)]
        assert torch.equal(beside.read(parts)[1], expected[place])


@compiled
@torch.inference_mode()
def test_bfloat16_loses_less_than_the_model_does(make_model: Make) -> None:
    model = _model(make_model, **SHAPES["wide heads in groups"]).to(torch.bfloat16)
    text = _texts(1)[0][:40]
    rough = EagerRunner(model, _cache(model)).read([Part(0, text, 40)]).float()
    own = _native(model).read([Part(0, text, 40)])
    exact = model.float()(torch.tensor([text]))[0]
    assert (own - exact).abs().mean() < (rough - exact).abs().mean()


@compiled
@torch.inference_mode()
def test_int8_is_the_same_model_with_and_without_a_compiler(make_model: Make) -> None:
    model = _model(make_model, **SHAPES["biases, a head for each"])
    text = _texts(1)[0][:40]
    quantized = Int8.of(model)
    native = runner_for(model, _cache(model), quantized, True).read([Part(0, text, 40)])
    plain = runner_for(model, _cache(model), quantized, False).read([Part(0, text, 40)])
    assert (native - plain).abs().max() < 1e-3
    assert 1e-3 < (native - model(torch.tensor([text]))[0]).abs().mean() < 0.5  # of logits around 5


@compiled
def test_weights_are_not_copied(make_model: Make) -> None:
    """A runner over a model that trains on reads the weights as they are now."""
    model = make_model()
    runner, text = _native(model), _texts(1)[0][:9]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(0.5)
        assert (runner.read([Part(0, text)])[0] - model(torch.tensor([text]))[0, -1]).abs().max() < 1e-4


@compiled
def test_it_is_compiled_once_and_kept_where_only_the_user_writes(
    fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert building.library() is not None
    kept = list((tmp_path / "mateconv" / "kernels").iterdir())
    assert len(kept) == 1 and kept[0].suffix == ".so"
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700
    building.library.cache_clear()
    monkeypatch.setattr(building, "compiled", None)  # would fail if called
    assert building.library() is not None
    kept[0].parent.chmod(0o777)
    assert building._cache() is None


@compiled
def test_a_user_without_a_home_has_the_kernels(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with a uid that no list of users has: they are compiled for the process."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(building, "compiled", lambda compiler, target: target)
    library = building.library()
    assert isinstance(library, Path) and not library.parent.exists()


@compiled
def test_the_code_asks_for_nothing_that_gcc_11_has_not(tmp_path: Path) -> None:
    compiler = building.find_compiler() or []
    if "clang" in subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("its own headers ask for more")
    later = ["-D__builtin_shufflevector=of_gcc_12"]
    checked = [*compiler, *building.FLAGS, "-fsyntax-only", *later, *map(str, building.SOURCES)]
    assert subprocess.run(checked, cwd=tmp_path, capture_output=True, text=True).stderr == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("compiler", "says"), [("nothing-of-this-name", "no C++ compiler"), ("false", "failed")])
def test_without_a_compiler_it_goes_on_and_says_so(
    fresh: None,
    make_model: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    compiler: str,
    says: str,
) -> None:
    monkeypatch.setenv("CXX", compiler)
    model = make_model()
    with caplog.at_level("INFO", logger="mateconv"):
        for _ in range(2):
            assert type(runner_for(model, _cache(model), None, True)) is EagerRunner
    assert caplog.text.count(says) == 1


def test_formats_it_does_not_know_are_left_to_torch(make_model: Make) -> None:
    model = make_model().to(torch.float16)
    assert NativeRunner.where_possible(model, _cache(model)) is None


def test_tokens_beyond_the_vocabulary_are_our_mistake(make_model: Make) -> None:
    model = make_model()
    with pytest.raises((AssertionError, IndexError)):
        _read(model, [100_000])


def _read(model: Decoder, tokens: list[int]) -> Tensor:
    return runner_for(model, _cache(model), None, True).read([Part(0, tokens)])
