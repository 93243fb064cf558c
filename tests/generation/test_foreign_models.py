"""Hugging Face directories of others: they write, chat and stop here as in `transformers`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from generation.chat import encode_chat
from generation.config import GenerationConfig
from generation.text import TextGenerator
from tests.generation.conftest import TEXTS

GREEDY = GenerationConfig(do_sample=False, max_new_tokens=24)
LLAMA3 = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
QWEN = (
    "{%- if tools %}{{- tools | tojson }}{%- endif %}{%- if messages[0].role != 'system' %}"
    "{{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- set content = message.content if message.content is string else '' %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
SIZES: dict[str, Any] = {
    "hidden_size": 30,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "intermediate_size": 37,
    "max_position_embeddings": 128,
}


def train(engine: Any, special: list[str], alphabet: list[str]) -> None:
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
    engine.train_from_iterator(TEXTS * 3, trainer)


def llama3() -> Any:
    """Byte level, a beginning of text from the post-processor, two tokens that end."""
    engine = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    train(engine, special, sorted(pre_tokenizers.ByteLevel.alphabet()))
    engine.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=engine, bos_token=special[0], eos_token=special[2], chat_template=LLAMA3
    )


def llama2() -> Any:
    """Blanks are ▁, characters without a piece their bytes."""
    engine = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    engine.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    engine.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    train(engine, ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))], ["▁"])
    engine.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=engine, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def qwen() -> Any:
    """Byte level, nothing before a text, template with tools."""
    engine = tokenizers.Tokenizer(models.BPE())
    engine.normalizer = normalizers.NFC()
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    train(engine, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], sorted(pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(
        tokenizer_object=engine, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=QWEN
    )


KINDS: dict[str, Callable[[], Any]] = {"llama3": llama3, "llama2": llama2, "qwen2": qwen}
ENDS: dict[str, Any] = {"llama3": [1, 2], "llama2": 2, "qwen2": [2, 0]}


@pytest.fixture(scope="module", params=KINDS)
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A random model with its tokenizer, both as `transformers` saves them, the weights in several files."""
    kind, path = str(request.param), tmp_path_factory.mktemp("foreign")
    tokenizer = KINDS[kind]()
    torch.manual_seed(0)
    bos = tokenizer.bos_token_id
    sizes = {**SIZES, "vocab_size": len(tokenizer) + 3, "eos_token_id": ENDS[kind], "bos_token_id": bos}
    model: Any = Qwen2ForCausalLM(Qwen2Config(**sizes)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**sizes))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
        elif kind == "qwen2":
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    with torch.no_grad():
        model.lm_head.weight[len(tokenizer) :] = 0  # padded ids are never the likeliest
    model.save_pretrained(path, max_shard_size="30KB")
    tokenizer.save_pretrained(path)
    assert len(list(path.glob("*.safetensors"))) > 1
    return kind, path


@pytest.mark.parametrize("prompt", ["the cat", "床前明月", "a <|eot_id|> café"])
def test_a_text_goes_on_as_in_transformers(foreign: tuple[str, Path], prompt: str) -> None:
    _, path = foreign
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    ids = tokenizer(prompt, return_tensors="pt", split_special_tokens=True, return_token_type_ids=False)
    written = theirs.generate(**ids, max_new_tokens=24, do_sample=False, pad_token_id=0)[0].tolist()
    ours = TextGenerator.from_path(path, "cpu", "float32")
    (request,) = ours.requests(prompt, GREEDY)
    length = len(request.prompt)
    assert list(request.prompt) == ids["input_ids"][0].tolist()
    before, whole = (tokenizer.decode(row, skip_special_tokens=True) for row in (written[:length], written))
    assert ours.generate(prompt, GREEDY).rstrip("\ufffd") == whole[len(before) :].rstrip("\ufffd")


def test_a_conversation_is_encoded_as_in_transformers(foreign: tuple[str, Path]) -> None:
    kind, path = foreign
    ours = TextGenerator.from_path(path, "cpu", "float32")
    template = ours.tokenizer.chat_template
    if kind == "llama2":
        assert template is None and not ours.can_chat
        return
    assert template is not None and ours.can_chat
    tokenizer = AutoTokenizer.from_pretrained(path)
    history = [{"role": "user", "content": "the cat sat"}, {"role": "assistant", "content": "床前 明月光"},
               {"role": "user", "content": "café?"}]  # fmt: skip
    for messages in (history, history[:1], [{"role": "system", "content": "saw"}, *history]):
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert encode_chat(ours.tokenizer, template, messages) == expected


def test_every_id_that_ends_a_text_ends_it(foreign: tuple[str, Path], tmp_path: Path) -> None:
    """The likeliest third token after a prompt is made one that ends."""
    _, path = foreign
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = tokenizer("the cat", return_tensors="pt", return_token_type_ids=False)
    theirs = AutoModelForCausalLM.from_pretrained(path).eval()
    written = theirs.generate(**ids, max_new_tokens=9, do_sample=False, pad_token_id=0)[0, ids["input_ids"].shape[1] :]
    end = int(written[2])
    for file in path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [1, end]}))
    (done,) = TextGenerator.from_path(tmp_path, "cpu", "float32").complete("the cat", GREEDY)
    assert done.finish_reason == "stop"
    assert done.completion_tokens == written.tolist().index(end)
