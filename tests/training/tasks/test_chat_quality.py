"""What the benchmark of chat training counts, against counting by hand, and its command on a tiny model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks import chat_quality
from generation.completion import Completion
from generation.text import TextGenerator
from shards.dataset import Dataset
from tests.training.conftest import Command
from tests.training.tasks.conversations import encoded, from_spans, messages, talks
from tokenization.tokenizer import Tokenizer


def test_words_and_repetitions() -> None:
    assert chat_quality.words("Don't stop-gap: 3 cats, 两只猫！ 🙂 a猫b") == [
        "don't", "stop-gap", "3", "cats", "两", "只", "猫", "a", "猫", "b",
    ]  # fmt: skip
    assert chat_quality.repeated(list("abcdabcd")) == pytest.approx(1 / 5)
    assert chat_quality.repeated(list("aaaaaaaa")) == pytest.approx(4 / 5)
    assert chat_quality.repeated(list("abc")) == 0
    said = {"a b c d e": True, "a b c d": False, "a a a a a a a": False, "春天有花开": True}
    for text, good in said.items():
        assert chat_quality.judge(Completion(text, "stop", 1, 1)).good == good
        assert not chat_quality.judge(Completion(text, "length", 1, 1)).good


def test_what_is_held_out_is_the_validation_split(chat_data: Path) -> None:
    tokenizer = Tokenizer.load(chat_data / "tokenizer")
    found = list(chat_quality.held_out(Dataset.open(chat_data, "val"), tokenizer))
    spoken = [talk for talk in talks(1, 25) if len(talk) > 1]
    assert [one.tokens for one in found] == [encoded(tokenizer, [talk])[0].tolist()[:-1] for talk in spoken]
    for one, talk in zip(found, spoken, strict=True):
        question = [(m["role"], tokenizer.encode(m["content"])) for m in one.question]
        assert question == [("user", tokenizer.encode(messages(talk)[0]["content"].strip()))]


def test_the_command_prints_losses_that_are_cross_entropies(
    chat: Command, chat_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert chat.call("--max_steps", "2").returncode == 0
    assert chat.call("--task", "causal", "--max_steps", "2", "--out_dir", "base").returncode == 0
    options = ["--model", str(tmp_path / "run"), "--pretrained", str(tmp_path / "base"), "--dataset", str(chat_data)]
    more = ["--questions", "3", "--samples", "2", "--max_new_tokens", "5", "--tokens", "40"]
    assert chat_quality.main([*options, *more]) == 0
    out = capsys.readouterr().out
    expected = []
    for name, before in (("run", []), ("base", [0])):
        generator, total, predicted = TextGenerator.from_path(tmp_path / name, dtype="float32"), 0.0, 0
        for talk in talks(1, 25):
            tokens = torch.tensor([*before, *encoded(generator.tokenizer, [talk])[0].tolist()[:40]])
            mask = torch.tensor([False] * len(before) + [bool(m) for m in from_spans(generator.tokenizer, talk)[:40]])
            tokens = tokens[: len(mask)]
            with torch.no_grad():
                logits = generator.model(tokens[None])[0]
            total += float(cross_entropy(logits[:-1][mask[1:]], tokens[1:][mask[1:]], reduction="sum"))
            predicted += int(mask.sum())
        expected.append(f"{total / predicted:.3f}")
    assert re.findall(r"all .*: ([0-9.]+) nats a token, pretrained ([0-9.]+)", out) == [tuple(expected)]
    assert out.count("-->") == 2 and re.search(r"all\s+3 questions: \d+% good", out)
    with pytest.raises(Exception, match="was not trained to chat"):
        chat_quality.main(["--model", str(tmp_path / "base"), *options[2:]])
