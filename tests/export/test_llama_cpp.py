"""llama.cpp reads our GGUF files: the same ids for the same texts, the same tokens from the same prompts.

Its Python binding is no dependency of ours (it has to be compiled): pip install llama-cpp-python.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from export.gguf import export_gguf
from export.gguf_tokenizer import SPLIT_ON
from model.directory import load_model_directory
from tests.generation.conftest import CHATML
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe

llama_cpp: Any = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
pytestmark = pytest.mark.slow
NEAR = 1e-4  # two best logits so close that rounding decides
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, tied": {"tie_word_embeddings": True, "num_key_value_heads": 4},
    "llama, wide heads": {"head_dim": 32, "rope_theta": 523.0, "rms_norm_eps": 0.01},
    "llama3 frequencies": {
        "rope_theta": 100.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 5.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
                         "original_max_position_embeddings": 23},
    },
    "linear frequencies": {"rope_scaling": {"rope_type": "linear", "factor": 3.0}},
    "qwen3": {"qk_norm": True},
    "qwen3, wide heads": {"qk_norm": True, "head_dim": 32},
    "qwen2": {"qkv_bias": True},
}  # fmt: skip


HARD = (
    "",
    " ",
    "a<|im_end|>b<|endoftext|>",
    "\u00a0\u3000 \t\n\r\n  x   y",
    "e\u0301 ＡＢ １２３４５ ½ Ⅷ 1234567",
    "👩‍👩‍👧 \U0010ffff",
    "it'S WE'LL they'd ſ's",
    "नमस्ते สวัสดี ကြ",
)


def opened(path: Path, **options: Any) -> Any:
    """llama.cpp with the file, computing in float32 throughout."""
    f32 = llama_cpp.GGML_TYPE_F32
    return llama_cpp.Llama(
        str(path), n_ctx=128, n_threads=1, type_k=f32, type_v=f32, flash_attn=False, verbose=False, **options
    )


def texts_of(data: Path) -> Iterator[str]:
    """Reviews and poems by turns."""
    names = ("imdb/train.jsonl.gz", "zh_poetry/poems.jsonl.gz")
    with ExitStack() as stack:
        files = [stack.enter_context(gzip.open(data / name, "rt", encoding="utf-8")) for name in names]
        for lines in zip(*files, strict=False):
            yield from (json.loads(line)["text"] for line in lines)


@pytest.mark.realdata
@pytest.mark.timeout(900)
def test_a_thousand_texts_have_the_same_ids(
    make_directory: Callable[..., Path], realdata: Path, tmp_path: Path
) -> None:
    texts = list(islice(texts_of(realdata), 1000))
    tokenizer = train_byte_bpe(islice(texts_of(realdata), 1000, 3000), 8000)
    model = tmp_path / "m.gguf"
    export_gguf(make_directory(tokenizer), model)
    theirs = opened(model, vocab_only=True)
    different = [
        text
        for text in [*texts, *HARD]
        if theirs.tokenize(text.encode(), add_bos=False, special=False) != tokenizer.encode(text)
    ]
    assert different == []
    marked = "<|im_start|>user\n你好<|im_end|>\n"
    assert theirs.tokenize(marked.encode(), add_bos=True, special=True) == tokenizer.encode(marked, special=True)
    for text in texts[:50]:
        assert theirs.detokenize(tokenizer.encode(text)).decode() == text


def of_others(kind: str, texts: Iterator[str]) -> Tokenizer:
    """A tokenizer that splits words as GPT-2's or Llama 3's does."""
    engine = tokenizers.Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    if kind == "gpt-2":
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        (pattern,) = (pattern for pattern, (name, _) in SPLIT_ON.items() if name == kind)
        split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        engine.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    engine.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=5000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    engine.train_from_iterator(texts, trainer)
    return Tokenizer.from_files({"tokenizer.json": engine.to_str().encode()})


@pytest.mark.realdata
@pytest.mark.parametrize("kind", ["gpt-2", "llama-bpe"])
def test_texts_have_the_same_ids_with_the_splitters_of_others(
    make_directory: Callable[..., Path], realdata: Path, tmp_path: Path, kind: str
) -> None:
    tokenizer = of_others(kind, islice(texts_of(realdata), 1000, 1500))
    export_gguf(make_directory(tokenizer), tmp_path / "m.gguf")
    theirs = opened(tmp_path / "m.gguf", vocab_only=True)
    assert theirs.metadata["tokenizer.ggml.pre"] == kind
    for text in [*islice(texts_of(realdata), 300), *HARD]:
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == tokenizer.encode(text), text


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_tokens_come_from_the_same_prompts(
    make_directory: Callable[..., Path], tokenizer: Tokenizer, tmp_path: Path, name: str
) -> None:
    shape = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False,
             "max_position_embeddings": 128, **SHAPES[name]}  # fmt: skip
    directory = make_directory(**shape)
    export_gguf(directory, tmp_path / "m.gguf")
    ours, theirs = load_model_directory(directory).model, opened(tmp_path / "m.gguf", logits_all=True)
    generator = torch.Generator().manual_seed(5)
    near, farthest = 0, 0.0
    for length in (1, 2, 7, 16, 31, 61):
        row = torch.randint(7, 331, (1, length), generator=generator)
        with torch.no_grad():
            while row.shape[1] < 100:
                logits = ours(row)
                row = torch.cat([row, logits[:, -1:].argmax(-1)], dim=1)
            logits = ours(row)[0].numpy()
        theirs.reset()
        theirs.eval(row[0].tolist())
        found = np.array(theirs.scores[: row.shape[1]])
        farthest = max(farthest, float(np.abs(found - logits).max()))
        for place in np.flatnonzero(found.argmax(-1) != logits.argmax(-1)):
            best = np.sort(logits[place])[-2:]
            assert best[1] - best[0] < NEAR, (length, place)
            near += 1
        # and as llama.cpp writes by itself, one token at a time
        theirs.reset()
        written = islice(theirs.generate(row[0, :length].tolist(), temp=0.0, repeat_penalty=1.0), 20)
        assert list(written) == row[0, length : length + 20].tolist() or near
    print(f"{name}: logits at most {farthest:.1e} apart, {near} near-ties in 600 tokens")
    assert farthest < 1e-3 and logits.std() > 0.5
    assert near <= 1
    assert theirs.metadata["general.architecture"] == (name.split(",")[0] if name.startswith("qwen") else "llama")


@pytest.mark.parametrize(("dtype", "close"), [("f16", 0.005), ("bf16", 0.04), ("q8_0", 0.15)])
def test_shorter_number_formats_are_close(
    make_directory: Callable[..., Path], tmp_path: Path, dtype: str, close: float
) -> None:
    directory = make_directory(hidden_size=64, num_attention_heads=4, num_key_value_heads=2)
    export_gguf(directory, tmp_path / "m.gguf", dtype)
    theirs = opened(tmp_path / "m.gguf", logits_all=True)
    row = torch.randint(7, 331, (1, 50), generator=torch.Generator().manual_seed(5))
    theirs.eval(row[0].tolist())
    with torch.no_grad():
        logits = load_model_directory(directory).model(row)[0].numpy()
    error = float(np.std(np.array(theirs.scores[:50]) - logits) / np.std(logits))
    print(f"{dtype}: {error:.2%} of the logits' spread")
    assert error < close


def test_a_chat_ends_where_its_turn_ends(
    make_directory: Callable[..., Path], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    export_gguf(make_directory(tokenizer.with_chat_template(CHATML)), tmp_path / "m.gguf")
    theirs = opened(tmp_path / "m.gguf")
    vocabulary = llama_cpp.llama_model_get_vocab(theirs._model.model)
    ends = {token for token in range(331) if llama_cpp.llama_vocab_is_eog(vocabulary, token)}
    assert ends == {0, 3}  # end of text, end of turn
    assert theirs.metadata["tokenizer.chat_template"] == CHATML
    written = theirs.create_completion("<|endoftext|>the cat", max_tokens=1, temperature=0.0)
    assert written["usage"]["prompt_tokens"] == 1 + len(tokenizer.encode("the cat"))  # nothing before, nothing behind
    answer = theirs.create_chat_completion([{"role": "user", "content": "the cat"}], max_tokens=5, temperature=0.0)
    assert answer["usage"]["prompt_tokens"] == len(
        tokenizer.encode("<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n", special=True)
    )
