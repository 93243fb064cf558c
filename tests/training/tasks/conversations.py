"""Conversations made up for tests, encoded as the pipeline does, and datasets of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.mapping.chat import ConversationEncoder
from shards.documents import RECORD
from shards.manifest import Manifest
from shards.writer import SplitWriter
from tests.training.conftest import random_documents, write_dataset
from tokenization.chat import CHATML
from tokenization.tokenizer import Tokenizer

LENGTH = 61
Talk = list[tuple[str, str]]
WORDS = ["the", "cat", "sat", "on", "mat", "rat", "ran", "猫", "🐀", "<|im_end|>", " two  blanks ", "\n"]


def talks(seed: int, count: int) -> list[Talk]:
    """Conversations of one to five messages; some are longer than a row, and in some no assistant speaks."""
    chance = random.Random(seed)
    return [
        [("user" if turn % 2 == 0 else "assistant", " ".join(chance.choices(WORDS, k=chance.randint(1, 6))))
         for turn in range(chance.randint(1, 5))]
        for _ in range(count)
    ]  # fmt: skip


def encoded(tokenizer: Tokenizer, conversations: Sequence[Talk]) -> tuple[Any, Any, Any]:
    def encode(contents: list[bytes]) -> tuple[Any, Any]:
        parts = [tokenizer.encode(content.decode()) for content in contents]
        return np.array([token for part in parts for token in part], np.uint32), np.cumsum([0, *map(len, parts)])

    messages = [tuple((role, text.encode()) for role, text in talk) for talk in conversations]
    return ConversationEncoder(tokenizer).encode_conversations(messages, encode)


def write_talks(directory: Path, tokenizer: Tokenizer, conversations: Sequence[Talk], plain: int) -> Any:
    tokens, lengths, spans = encoded(tokenizer, conversations)
    writer = SplitWriter(directory, np.dtype("uint16"), 1500, ("spans",))
    documents = random_documents(7, plain, tokenizer.vocab_size)
    size = np.array([len(document) for document in documents], np.int32)
    if plain:
        writer.append(np.concatenate(documents).astype("uint16"), size, np.zeros(plain, RECORD), size)
    sizes = lengths.astype(np.int32)
    writer.append(tokens.astype("uint16"), sizes, np.zeros(len(sizes), RECORD), sizes, {"spans": spans})
    return writer.finish()


def messages(talk: Talk) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in talk]


def from_spans(tokenizer: Tokenizer, talk: Talk) -> list[int]:
    tokens, _, spans = encoded(tokenizer, [talk])
    mask = [0] * (len(tokens) - 1)
    for _, start, end in spans.tolist():
        mask[start:end] = [1] * (end - start)
    return mask


def write_chat_data(path: Path, tokenizer: Tokenizer) -> Path:
    """Sixty conversations between ten other documents, 25 to validate on."""
    talker = tokenizer.with_chat_template(CHATML)
    write_dataset(path, talker, [], [])
    splits = {
        split: write_talks(path / split, talker, talks(seed, count), plain)
        for seed, (split, count, plain) in enumerate((("train", 60, 10), ("val", 25, 3)))
    }
    Manifest.load(path).model_copy(update={"splits": splits}).save(path)
    return path
