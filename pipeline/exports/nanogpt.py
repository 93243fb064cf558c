"""nanoGPT's format: flat uint16 tokens in train.bin and val.bin, and meta.pkl (github.com/karpathy/nanoGPT)."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

from foundation.errors import UserError
from pipeline.exports.base import Exported
from tokenization.tokenizer import Tokenizer

LARGEST_VOCABULARY = 1 << 16
_CHUNK = 1 << 22


def check(exported: Exported) -> None:
    """Refuse a vocabulary whose ids uint16 cannot hold: nanoGPT reads nothing else."""
    size = exported.manifest.vocab_size
    if size > LARGEST_VOCABULARY:
        raise UserError(
            f"{exported.path}: a vocabulary of {size:,} tokens does not fit nanoGPT's uint16 (at most"
            f" {LARGEST_VOCABULARY:,}); export it as --format huggingface, or make the dataset with a smaller tokenizer"
        )


def write(exported: Exported, directory: Path, progress: Callable[[int], object]) -> None:
    """Write SPLIT.bin for every split (documents back to back, terminators included) and meta.pkl."""
    for split, dataset in exported.splits.items():
        with (directory / f"{split}.bin").open("wb") as out:
            for shard in dataset.shards:
                for start in range(0, len(shard.tokens), _CHUNK):
                    tokens = shard.tokens[start : start + _CHUNK]
                    out.write(tokens.astype("<u2").data)
                    progress(len(tokens))
    (directory / "meta.pkl").write_bytes(pickle.dumps(_meta(exported.tokenizer)))


def _meta(tokenizer: Tokenizer) -> dict[str, object]:
    """What nanoGPT's train.py (vocab_size) and sample.py (itos to show, stoi for the characters of a prompt) read."""
    itos = {number: tokenizer.decode([number], skip_special=False) for number in range(tokenizer.vocab_size)}
    stoi: dict[str, int] = {}
    for number, text in itos.items():
        if len(text) == 1 and text != "\ufffd":
            stoi.setdefault(text, number)
    return {"vocab_size": tokenizer.vocab_size, "itos": itos, "stoi": stoi}
