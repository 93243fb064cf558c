"""training.evaluate against transformers' loss on each text alone, and bits a byte by hand."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from foundation.errors import UserError
from model.config import ModelConfig
from model.decoder import Decoder
from model.directory import save_model_directory
from shards.documents import RECORD
from shards.manifest import Manifest, SplitEntry
from shards.writer import SplitWriter
from tests.training.conftest import Command
from tests.training.tasks.conftest import TINY_ENCODER
from tokenization.kinds.wordpiece import train_word_piece
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe
from training.evaluate import main

TEXTS = [
    "The cat sat on the mat, and the other cat ran after the rat.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "ends with <|endoftext|> spelt out, 🙂 and a café",
    "a " * 40 + "long one",
    "x",
]
POSITIONS = 97
PACKERS = (gzip.compress, bz2.compress, lzma.compress)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder of ours, with a tokenizer of its own."""
    tokenizer = train_byte_bpe(TEXTS, 400)
    torch.manual_seed(3)
    shape: dict[str, Any] = dict(hidden_size=30, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1)
    config = ModelConfig(**shape, intermediate_size=37, max_position_embeddings=POSITIONS, initializer_range=0.3)
    path = tmp_path_factory.mktemp("model") / "best"
    end = tokenizer.roles.end_of_text
    save_model_directory(
        path,
        Decoder(config, tokenizer.vocab_size),
        tokenizer_files=tokenizer.files(),
        generation={"eos_token_id": end},
        mateconv={"objective": "causal", "terminator": [end]},
    )
    return path


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """TEXTS as JSON lines."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"body": text}, ensure_ascii=False) + "\n" for text in TEXTS))
    return path


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """The command's JSON."""

    def call(*argv: object) -> dict[str, Any]:
        assert main([*map(str, argv), "--device", "cpu", "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return call


def nats_of(reference: Any, tokens: list[int]) -> list[float]:
    """What `transformers` gives for each token but the first, with all before it as context."""
    ids = torch.tensor([tokens])
    with torch.no_grad():
        logits = reference(ids).logits[0, :-1].double()
    picked = torch.log_softmax(logits, dim=-1).gather(1, ids[0, 1:, None])[:, 0]
    return [-float(value) for value in picked]


def test_losses_are_those_of_transformers_and_bits_those_of_the_text_by_hand(
    model: Path, lines: Path, evaluate: Callable[..., dict[str, Any]]
) -> None:
    reference = LlamaForCausalLM.from_pretrained(model).eval()
    tokenizer = Tokenizer.load(model)
    nats: list[float] = []
    text_nats = 0.0
    for text in TEXTS:
        each = nats_of(reference, [0, *tokenizer.encode(text), 0])
        nats += each
        text_nats += sum(each[:-1])  # the end of the document is no text
    found = evaluate(model, "--text", lines, "--text_field", "body")
    assert (found["documents"], found["tokens"]) == (len(TEXTS), len(nats))
    assert found["loss"] == pytest.approx(sum(nats) / len(nats), abs=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-4)
    size = sum(len(text.encode()) for text in TEXTS)
    assert found["bits_per_byte"] == pytest.approx(text_nats / math.log(2) / size, abs=1e-5)
    assert found["bits_per_character"] == pytest.approx(text_nats / math.log(2) / sum(map(len, TEXTS)), abs=1e-5)
    one = [evaluate(model, "--text", lines, "--text_field", "body", "--limit", n)["tokens"] for n in (1, 2)]
    assert one == [
        len(tokenizer.encode(TEXTS[0])) + 1,
        len(nats) - sum(len(tokenizer.encode(t)) + 1 for t in TEXTS[2:]),
    ]


def test_a_foreign_model_reads_its_own_begin_token_and_predicts_no_end(
    model: Path, lines: Path, tmp_path: Path, evaluate: Callable[..., dict[str, Any]]
) -> None:
    foreign = tmp_path / "foreign"
    reference = LlamaForCausalLM.from_pretrained(model).eval()
    reference.config.bos_token_id = reference.generation_config.bos_token_id = 5
    reference.save_pretrained(foreign)
    config = json.loads((foreign / "config.json").read_text())
    config.pop("mateconv", None)
    (foreign / "config.json").write_text(json.dumps(config))
    Tokenizer.load(model).save(foreign)
    ids = [torch.tensor([[5, *Tokenizer.load(model).encode(text)]]) for text in TEXTS]
    with torch.no_grad():
        losses = [float(reference(row, labels=row).loss) * (row.shape[1] - 1) for row in ids]
    found = evaluate(foreign, "--text", lines, "--text_field", "body")
    assert found["loss"] == pytest.approx(sum(losses) / sum(row.shape[1] - 1 for row in ids), abs=1e-5)


@pytest.mark.parametrize("stride", [None, 5, 17])
def test_windows_are_those_of_the_published_recipe(
    model: Path, tmp_path: Path, evaluate: Callable[..., dict[str, Any]], stride: int | None
) -> None:
    length, text = 17, " ".join(TEXTS)
    (tmp_path / "a.txt").write_text(text)
    reference = LlamaForCausalLM.from_pretrained(model).eval()
    tokens = torch.tensor([[0, *Tokenizer.load(model).encode(text), 0]])
    total, done, counted = 0.0, 0, 0
    for start in range(0, tokens.shape[1] - 1, stride or length):  # https://huggingface.co/docs/transformers/perplexity
        end = min(start + length, tokens.shape[1] - 1)
        window = tokens[:, start : end + 1]
        labels = window.clone()
        labels[:, : max(1, done - start + 1)] = -100
        kept = int((labels[:, 1:] != -100).sum())
        with torch.no_grad():
            total += float(reference(window, labels=labels).loss) * kept
        done, counted = end, counted + kept
        if end == tokens.shape[1] - 1:
            break
    more = [] if stride is None else ["--stride", stride]
    found = evaluate(model, "--text", tmp_path / "a.txt", "--max_seq_len", length, *more, "--batch_size", 3)
    assert found["tokens"] == counted == tokens.shape[1] - 1
    assert found["loss"] == pytest.approx(total / counted, abs=1e-5)


def write_dataset(path: Path, tokenizer: Tokenizer) -> Path:
    """TEXTS as a dataset, with the hashes that the pipeline records."""
    end = tokenizer.roles.terminator
    writer = SplitWriter(path / "val", np.dtype("uint16"), shard_tokens=100)
    for text in TEXTS:
        tokens = np.array([*tokenizer.encode(text), *end], np.uint16)
        record = np.zeros(1, RECORD)
        record["content_hash"] = hashlib.sha256(text.encode()).digest()[:16]
        writer.append(tokens, np.array([len(tokens)], np.int32), record, text_bytes=np.array([len(text.encode())]))
    tokenizer.save(path / "tokenizer")
    empty = SplitEntry(documents=0, tokens=0, text_bytes=0, shards=[])
    Manifest(
        dtype="uint16", vocab_size=tokenizer.vocab_size, roles={}, terminator=end,
        tokenizer_fingerprint=tokenizer.fingerprint, pipeline_fingerprint="0" * 64, settings={}, versions={},
        block_bytes=1, inputs=[], splits={"train": empty, "val": writer.finish()},
    ).save(path)  # fmt: skip
    return path


def test_a_dataset_gives_what_its_texts_give_also_one_of_another_tokenizer(
    model: Path, lines: Path, tmp_path: Path, evaluate: Callable[..., dict[str, Any]]
) -> None:
    texts = evaluate(model, "--text", lines, "--text_field", "body")
    other = train_byte_bpe(["quite another text, with other merges"] * 3, 300)
    for name, tokenizer in (("own", Tokenizer.load(model)), ("other", other)):
        path = write_dataset(tmp_path / name, tokenizer)
        for shape in ((), ("--batch_size", 1, "--max_seq_len", POSITIONS)):
            found = evaluate(model, "--dataset", path, *shape)
            assert found["text_bytes"] == texts["text_bytes"] and found["tokens"] == texts["tokens"]
            assert found["loss"] == pytest.approx(texts["loss"], abs=1e-5)
            assert found["bits_per_byte"] == pytest.approx(texts["bits_per_byte"], abs=1e-5)
    lossy = write_dataset(tmp_path / "lossy", train_word_piece(TEXTS, 100))
    with pytest.raises(UserError, match=r"do not give back the text of document 0.*process the text again"):
        main([str(model), "--dataset", str(lossy)])
    with pytest.raises(UserError, match=r"split 'train' has no document.*val"):
        main([str(model), "--dataset", str(lossy), "--split", "train"])


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_texts_are_read(
    model: Path, lines: Path, tmp_path: Path, evaluate: Callable[..., dict[str, Any]], suffix: str, compress: Any
) -> None:
    packed = tmp_path / f"packed.jsonl{suffix}"
    packed.write_bytes(compress(lines.read_bytes()))
    found = evaluate(model, "--text", packed, lines, "--text_field", "body")
    assert found["documents"] == 2 * len(TEXTS)
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(UserError, match="truncated or damaged archive"):
        main([str(model), "--text", str(packed), "--text_field", "body"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"text": 1}\n', r"a\.jsonl:1: has no text under 'text'"),
        (b'\n{"text": "a"}\n{"text"\n', r"a\.jsonl:3: not valid JSON"),
        (b'{"text": "\\ud800"}\n', r"a\.jsonl:1: .*surrogate"),
        (b"\n", "no token to predict"),
    ],
)
def test_lines_that_are_no_texts_are_named(model: Path, tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=says):
        main([str(model), "--text", str(tmp_path / "a.jsonl")])


def test_what_cannot_be_measured_is_named(
    model: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latin.txt").write_bytes("fine\ncaf\u00e9".encode("latin-1"))
    for argv, says in (
        ([], "give what to measure on"),
        (["--text", str(lines), "--dataset", "d"], "not both"),
        (["--text", str(tmp_path / "latin.txt")], r"latin\.txt:2: not UTF-8"),
        (["--text", str(tmp_path)], "is a directory"),
        (["--text", str(lines), "--max_seq_len", "98"], "exceeds the model's 97 positions"),
        (["--text", str(lines), "--max_seq_len", "9", "--stride", "10"], "tokens would be left out"),
    ):
        with pytest.raises(UserError, match=says):
            main([str(model), *argv])
    monkeypatch.setattr("training.evaluation.texts.LONGEST", 20)
    with pytest.raises(UserError, match=r"texts\.jsonl:1: one document of more than"):
        main([str(model), "--text", str(lines), "--text_field", "body"])


def test_an_encoder_gives_the_validation_loss_of_its_run(
    tmp_path: Path, dataset: Path, evaluate: Callable[..., dict[str, Any]]
) -> None:
    command = Command(tmp_path, [*TINY_ENCODER, "--train_data_path", str(dataset), "--eval_interval", "2"])
    done = command.call("--task", "mlm", "--architecture", "bert", "--max_steps", "2")
    assert done.returncode == 0, done.stderr
    found = evaluate(tmp_path / "out" / "final", "--dataset", dataset)
    assert found["loss"] == pytest.approx(command.rows()[-1]["val_loss"], rel=1e-5)
    assert found["max_seq_len"] == 29
    with pytest.raises(UserError, match="leave --text out"):
        main([str(tmp_path / "out"), "--text", "a.txt"])
