"""Task chat as a run: the loss of the assistant's turns is that of `transformers` on each conversation alone, the
template beside the model is the form it was trained in, and nobody can forge it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from foundation.streams import derive_seed
from generation.chat import encode_chat
from generation.config import GenerationConfig
from generation.text import TextGenerator
from shards.dataset import Dataset
from tests.training.conftest import TINY_RUN, Command
from tests.training.tasks.conversations import LENGTH, encoded, from_spans, messages, talks
from tests.training.test_model_card import front_matter, run_code
from tests.training.test_resume import assert_goes_on, assert_survives_kills
from tokenization.chat import CHATML
from tokenization.tokenizer import Tokenizer
from training.batching.batches import IGNORED
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.tasks.chat import ChatTask

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "\n\nx \n", "\x1f", "\ue0000\ue001", "{{ 7 * 7 }}"]
)


def task_on(data: Path, **settings: Any) -> ChatTask:
    tokenizer = Tokenizer.load(data / "tokenizer")
    opened = TrainingData((Dataset.open(data),), (None,), Dataset.open(data, "val"), tokenizer)
    return ChatTask(opened, DataConfig(max_seq_len=LENGTH), TrainingConfig(task="chat", **settings))


def test_the_validation_loss_is_that_of_transformers_on_the_answers_of_each_conversation_alone(
    chat: Command, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """The template's own masks say what an answer is, and their tokens are those that were trained on."""
    done = chat.call("--max_steps", "2")
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "best").eval()
    theirs = AutoTokenizer.from_pretrained(tmp_path / "run" / "best")
    total, predicted = 0.0, 0
    for talk in talks(1, 25):
        ids = encoded(tokenizer, [talk])[0].tolist()[:-1]
        if any(word in text for _, text in talk for word in ("<|", "\n")):  # theirs takes spelt tokens for the tokens
            mask = from_spans(tokenizer, talk)
        else:
            said = theirs.apply_chat_template(
                messages(talk), return_dict=True, return_assistant_tokens_mask=True, tokenize=True
            )
            assert said["input_ids"] == ids
            mask = said["assistant_masks"]
            assert mask == from_spans(tokenizer, talk)
        if not any(mask) or max(np.flatnonzero(mask)) > LENGTH:
            continue
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        wanted = torch.tensor([token if counted else IGNORED for token, counted in zip(ids, mask, strict=True)][1:])
        total += float(cross_entropy(logits[:-1], wanted, ignore_index=IGNORED, reduction="sum"))
        predicted += sum(mask)
    assert predicted > 50
    assert chat.rows("run")[-1]["val_loss"] == pytest.approx(total / predicted, rel=1e-5)


def test_what_the_model_is_saved_with(chat: Command, tmp_path: Path, chat_data: Path) -> None:
    """It says that it chats, ends its turns in `transformers` too, and brings the template of its data."""
    assert chat.call("--max_steps", "2").returncode == 0
    best = tmp_path / "run" / "best"
    ours = json.loads((best / "config.json").read_text())["mateconv"]
    assert ours["objective"] == "chat" and ours["chat_trained"] is True
    roles = Tokenizer.load(best).roles
    assert json.loads((best / "generation_config.json").read_text())["eos_token_id"] == [
        roles.turn_end,
        roles.end_of_text,
    ]
    assert (best / "chat_template.jinja").read_text() == CHATML
    for name in ("best", "ckpt.pth"):
        generator = TextGenerator.from_path(tmp_path / "run" / name)
        assert generator.can_chat and generator.chat([{"role": "user", "content": "the cat"}]) is not None
    assert task_on(chat_data).provenance()["terminator"] == [0]


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=5), st.booleans())
def test_a_prompt_is_the_data_s_encoding_and_its_texts_forge_nothing(
    chat_data: Path, contents: list[str], system: bool
) -> None:
    tokenizer = Tokenizer.load(chat_data / "tokenizer")
    roles = ["system"] if system else []
    talk = list(zip([*roles, *["user", "assistant"] * 3], contents, strict=False))
    ids = encode_chat(tokenizer, CHATML, messages(talk))
    trained = encoded(tokenizer, [[*talk, ("assistant", "")]])[0].tolist()
    closing = [tokenizer.roles.turn_end, *tokenizer.encode("\n"), *tokenizer.roles.terminator]
    assert [*ids, *closing] == trained
    special = [token for token in ids if token in tokenizer.special_ids]
    start, end = tokenizer.roles.turn_start, tokenizer.roles.turn_end
    assert special == [start, end] * len(talk) + [start]


def test_tokens_are_all_that_are_read_and_targets_the_answers(chat_data: Path, tmp_path: Path) -> None:
    task = task_on(chat_data)
    samples = task.samples(Dataset.open(chat_data), tmp_path)
    batch = samples.batch(np.arange(samples.samples_per_epoch))
    micro = task.microbatch(batch, np.arange(samples.samples_per_epoch))
    assert micro.predicted == (int((micro.tensors["targets"] != IGNORED).sum()),)
    conversations = talks(0, 60)
    tokenizer = Tokenizer.load(chat_data / "tokenizer")
    read = answers = 0
    for talk in conversations:
        counted = np.flatnonzero(from_spans(tokenizer, talk))
        if len(counted) and counted[-1] <= LENGTH:
            read, answers = read + int(counted[-1]), answers + len(counted)
    assert (micro.tokens, micro.predicted) == (read, (answers,)) and 0 < answers < read
    # Back to the start of the conversation: the plain mean over all tokens.
    lengths = [int(c[-1]) for c in (np.flatnonzero(from_spans(tokenizer, talk)) for talk in conversations) if len(c)]
    mean = sum(n * (n + 1) / 2 for n in lengths if n <= LENGTH) / read
    assert task.attended_length() == pytest.approx(mean)


def test_samples_are_answers(chat: Command) -> None:
    """A prompt is a question; an empty one is nothing to answer."""
    done = chat.call("--max_steps", "1", "--sample_tokens", "5", "--sample_prompts", "the cat", "")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (chat.directory / "run" / "samples.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["the cat"]
    generator = TextGenerator.from_path(chat.directory / "run" / "final", dtype="float32")
    options = GenerationConfig(max_new_tokens=5, seed=derive_seed(0, "sample", 0))
    assert rows[0]["text"] == generator.chat([{"role": "user", "content": "the cat"}], options)
    final = chat.directory / "run" / "final"
    assert front_matter((final / "README.md").read_text())["tags"][-2:] == ["chat", "conversational"]
    run_code(final)


def test_plain_text_is_learnt_when_asked_for(chat: Command) -> None:
    few = chat.call("--epochs", "1", "--max_steps", "null")
    assert few.returncode == 0, few.stderr
    many = chat.call("--epochs", "1", "--max_steps", "null", "--chat_plain_text", "true", "--out_dir", "text")
    assert many.returncode == 0, many.stderr
    says = " conversations are longer than max_seq_len"  # of the conversations alone
    left = [re.search(rf"(\d+ of \d+){says}", done.stderr) for done in (few, many)]
    assert left[0] and left[1] and left[0][1] == left[1][1]
    assert chat.rows("text")[-1]["tokens"] > chat.rows("run")[-1]["tokens"]
    refused = chat.call("--task", "causal", "--chat_plain_text", "true", "--out_dir", "other")
    assert refused.returncode == 2 and "--chat_plain_text is for chat; task causal does not read it" in refused.stderr


def test_broken_off_at_random_steps_and_resumed_it_is_the_same_run(
    chat: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--use_ema", "true", "--dropout", "0.1", "--eval_interval", "5", "--max_steps", "10")
    assert_goes_on(chat, monkeypatch, (3, 8), arguments)


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_run(chat: Command) -> None:
    """SIGKILL after the weights of three steps have moved, in bfloat16 where the machine computes in it."""
    arguments = ("--use_ema", "true", "--dropout", "0.1", "--dtype", "bfloat16", "--max_steps", "20")
    assert_survives_kills(chat, (5, 11, 18), arguments)


def test_from_a_pretrained_decoder_into_a_place_of_its_own(chat: Command, chat_data: Path) -> None:
    """The default directory is out/finetune/NAME; conversations that are too long are said."""
    causal = chat.call("--task", "causal", "--max_steps", "2")
    assert causal.returncode == 0, causal.stderr
    before = (chat.directory / "run" / "best" / "model.safetensors").read_bytes()
    chat.base = [*TINY_RUN, "--max_seq_len", "40", "--task", "chat", "--train_data_path", str(chat_data)]
    tuned = chat.call("--init_from", "run/best", "--max_steps", "2")
    assert tuned.returncode == 0, tuned.stderr
    assert "starting from run/best: 20 of its 20 tensors" in tuned.stdout + tuned.stderr
    assert "conversations are longer than max_seq_len 40 and are left out" in tuned.stderr
    assert (chat.directory / "out" / "finetune" / "talk" / "best" / "chat_template.jinja").is_file()
    assert (chat.directory / "run" / "best" / "model.safetensors").read_bytes() == before


def test_what_the_data_lack_is_named_before_any_work(
    chat: Command, dataset: Path, chat_data: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    plain = chat.call("--train_data_path", str(dataset))
    assert plain.returncode == 2 and "holds no conversations for the task chat" in plain.stderr
    mixed = chat.call("--train_data_path", str(chat_data), str(dataset))
    assert mixed.returncode == 2 and f"{dataset}: holds no conversations" in mixed.stderr
    assert "--chat_plain_text true" in mixed.stderr
    both = chat.call("--train_data_path", str(chat_data), str(dataset), "--chat_plain_text", "true", "--max_steps", "1")
    assert both.returncode == 0, both.stderr
    tokenizer.save(tmp_path / "bare")  # the same tokens, another form of a conversation
    other = chat.call("--tokenizer_path", "bare", "--out_dir", "again")
    assert other.returncode == 2 and "chat template is not the form" in other.stderr
    definition = json.loads(tokenizer.files()["tokenizer.json"])
    for token in definition["added_tokens"]:
        token["content"] = token["content"].replace("im_start", "other")
    vocabulary = definition["model"]["vocab"]
    definition["model"]["vocab"] = {word.replace("im_start", "other"): i for word, i in vocabulary.items()}
    without = Tokenizer.from_files({**tokenizer.files(), "tokenizer.json": json.dumps(definition).encode()})
    opened = TrainingData((Dataset.open(chat_data),), (None,), None, without)
    with pytest.raises(Exception, match="task chat needs a token for the role 'turn_start'"):
        ChatTask(opened, DataConfig(max_seq_len=LENGTH), TrainingConfig(task="chat"))
