"""`python -m training.evaluate MODEL --dataset DIR | --text FILE…`: loss, perplexity and bits per byte of a model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from tqdm import tqdm

from foundation import cli, logs
from foundation.config import load_config
from foundation.device import pick_device, pick_dtype
from foundation.errors import UserError
from foundation.quantities import Count
from foundation.section import Section
from model.decoder import Decoder
from model.encoder.encoder import Encoder as EncoderModel
from model.loading import FoundModel, load_model
from shards.dataset import Dataset
from tokenization.tokenizer import Tokenizer
from training.evaluation.documents import Document, Encoder, of_dataset, of_texts
from training.evaluation.masked import measure_masked
from training.evaluation.perplexity import score
from training.evaluation.texts import read_texts

LONGEST = 2048
"""Tokens of a window, where nobody says and the model does not know how long the rows were that it learnt from."""
WORDS = {
    "loss": "loss               {:.4f} nats a token, the ends of documents counted",
    "perplexity": "perplexity         {:.2f}",
    "bits_per_byte": "bits per byte      {:.4f}",
    "bits_per_character": "bits per character {:.4f}",
}


class Flags(Section):
    """What the command line says."""

    positional: ClassVar[Sequence[str]] = ("model",)
    aliases: ClassVar[Mapping[str, Sequence[str]]] = {"as_json": ("json",)}

    model: Path | None = Field(
        None, description="model directory, run directory or .pth checkpoint; null: the newest under out/"
    )
    dataset: Path | None = Field(
        None, description="dataset directory to measure on; one of another tokenizer is turned back into text"
    )
    split: str = Field("val", description="which split of the dataset")
    text: tuple[Path, ...] = Field(
        (), description="text files instead: .txt and the like are one document, .jsonl one a line; .gz .bz2 .xz too"
    )
    text_field: str = Field("text", description="key of the text in a .jsonl file")
    limit: Count | None = Field(None, ge=1, description="measure the first documents only")
    max_seq_len: Count | None = Field(
        None, ge=2, description="tokens in a window; null: what the model was trained on, or can take, up to 2048"
    )
    stride: Count | None = Field(
        None,
        ge=1,
        description="windows of longer documents begin that many tokens apart, and what they share is context; null: "
        "max_seq_len, no overlap",
    )
    batch_size: int = Field(8, ge=1, description="rows that are computed at a time")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:0 or mps")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32", description="number format; auto: bfloat16 where the hardware has it"
    )
    as_json: bool = Field(False, description="print one JSON object")


def main(argv: list[str]) -> int:
    """The command; the exit code."""
    logs.setup()
    what = "Measure a model: loss, perplexity, bits per byte."
    flags = load_config("python -m training.evaluate", what, {}, Flags, argv).get(Flags)
    if (flags.dataset is None) == (not flags.text):
        raise UserError("give what to measure on: --dataset DIR, or --text FILE and more of them, and not both")
    device = pick_device(flags.device)
    found = load_model(flags.model, device, pick_dtype(flags.dtype, device))
    tokenizer = Tokenizer.from_files(found.tokenizer_files, str(found.source))
    length = _length(flags, found)
    measured = {"model": str(found.source), "on": _named(flags), "max_seq_len": length}
    if isinstance(found.model, Decoder):
        measured |= _decoder(flags, found, found.model, tokenizer, length)
    else:
        assert isinstance(found.model, EncoderModel)
        measured |= _encoder(flags, found.model, tokenizer, length)
    print(json.dumps(measured, ensure_ascii=False) if flags.as_json else "\n".join(_lines(measured)))
    return 0


def _length(flags: Flags, found: FoundModel) -> int:
    most = found.model.config.max_position_embeddings
    if flags.max_seq_len is not None and flags.max_seq_len > most:
        raise UserError(f"max_seq_len {flags.max_seq_len} exceeds the model's {most} positions; lower max_seq_len")
    learnt = found.mateconv.get("sequence_length")
    length = flags.max_seq_len or (learnt if isinstance(learnt, int) else min(most, LONGEST))
    if flags.stride is not None and flags.stride > length:
        raise UserError(f"stride {flags.stride} exceeds max_seq_len {length}: tokens would be left out; lower stride")
    return length


def _named(flags: Flags) -> str:
    return f"{flags.dataset} {flags.split}" if flags.dataset is not None else " ".join(map(str, flags.text))


def _opened(flags: Flags) -> Dataset:
    assert flags.dataset is not None
    dataset = Dataset.open(flags.dataset, flags.split)
    if not dataset.documents:
        there = [name for name, entry in dataset.manifest.splits.items() if entry.documents] if dataset.manifest else []
        raise UserError(
            f"{flags.dataset}: split {flags.split!r} has no document; give --split with one of {', '.join(there)}"
        )
    return dataset


def _decoder(
    flags: Flags, found: FoundModel, model: Decoder, tokenizer: Tokenizer, length: int
) -> dict[str, float | int | None]:
    encoder = Encoder(tokenizer, found.generation, found.mateconv)
    documents: Iterator[Document]
    total = None
    if flags.dataset is not None:
        dataset = _opened(flags)
        documents = of_dataset(dataset, encoder)
        total = dataset.tokens if flags.limit is None else None  # about, where the tokenizer is another
    else:
        documents = of_texts(read_texts(flags.text, flags.text_field), encoder)
    with tqdm(total=total, desc="evaluating", unit="token", unit_scale=True, delay=2, disable=None) as bar:
        values = score(
            model,
            tokenizer.special_ids,
            itertools.islice(documents, flags.limit),
            length=length,
            stride=flags.stride or length,
            batch_size=flags.batch_size,
            progress=bar.update,
        ).values()
    return {"stride": flags.stride or length, **values}


def _encoder(flags: Flags, model: EncoderModel, tokenizer: Tokenizer, length: int) -> dict[str, float]:
    given = {"--text": flags.text, "--stride": flags.stride, "--limit": flags.limit}
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise UserError(f"an encoder is measured on whole splits of a dataset; leave {' '.join(wrong)} out")
    dataset = _opened(flags)
    with tqdm(desc="evaluating", unit="row", delay=2, disable=None) as bar:

        def progress(rows: int, total: int) -> None:
            bar.total = total
            bar.update(min(rows, total - bar.n))

        return measure_masked(model, tokenizer, dataset, length=length, batch_size=flags.batch_size, progress=progress)


def _lines(measured: Mapping[str, Any]) -> Iterator[str]:
    yield f"{measured['model']} on {measured['on']}, windows of {measured['max_seq_len']}"
    if "documents" not in measured:
        for name in (name for name in measured if name not in ("model", "on", "max_seq_len")):
            yield f"{name:18} {measured[name]:.4f}"
        return
    counts = f"{measured['documents']:,} documents, {measured['tokens']:,} tokens predicted"
    size = measured["text_bytes"]
    yield counts if size is None else f"{counts}, {size:,} bytes and {measured['characters']:,} characters of text"
    for name, words in WORDS.items():
        if measured[name] is not None:
            yield words.format(measured[name])
    if size is None:
        yield "bits per byte      unknown: the tokenizer does not keep texts as they were"


if __name__ == "__main__":
    cli.run(main)
