"""The whole pipeline on conversations, sentences, pieces and weights, read back from the dataset."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import PipelineConfig
from pipeline.process import process
from shards.dataset import Dataset
from shards.documents import check_rows
from shards.manifest import SPLITS, Manifest
from tests.pipeline.conftest import digests
from tokenization.chat import CHATML
from tokenization.sentences import split_sentences
from tokenization.tokenizer import Tokenizer

TALKS = [
    [("system", "Be kind."), ("user", "Who are you?"), ("assistant", "A small model. I read <|im_end|> as text.")],
    [
        ("user", "你叫什么？"),
        ("assistant", "我是一个小模型。"),
        ("user", "谢谢你！"),
        ("assistant", "不客气。很高兴。"),
    ],
    [("user", "A question that nobody answered, alas, so that nothing is learnt.")],
]
PLAIN = ["It rained for a week. Then the sun came out! Everyone was glad.", "春眠不觉晓。处处闻啼鸟。夜来风雨声。"]


def write(path: Path) -> Path:
    rows: list[Any] = [{"messages": [{"role": r, "content": c} for r, c in talk]} for talk in TALKS]
    rows[1:1] = [{"text": text} for text in PLAIN]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def settings(tmp_path: Path, **changes: Any) -> PipelineConfig:
    values: dict[str, Any] = {
        "input": [str(write(tmp_path / "talk.jsonl"))], "output": tmp_path / "data" / "set", "vocab_size": 330,
        "workers": 1, "val_fraction": 0.0,
    }  # fmt: skip
    return PipelineConfig(**{**values, **changes})


def check_tables(data: Dataset) -> None:
    assert data.manifest is not None
    for shard in data.shards:
        for name, rows in (("spans", shard.spans), ("sentences", shard.sentences)):
            if rows is not None:
                assert check_rows(name, rows, shard.lengths, len(data.manifest.terminator)) is None


def test_conversations_become_a_dataset(tmp_path: Path):
    config = settings(tmp_path)
    process(config)
    data = Dataset.open(config.output)
    tokenizer = Tokenizer.load(config.output / "tokenizer")
    assert tokenizer.chat_template == CHATML and data.documents == 5
    check_tables(data)
    assert data.sentences(0) is None
    by_offset = sorted(range(5), key=lambda number: int(data.record(number)["offset"]))
    assert by_offset == [0, 1, 2, 3, 4]
    learnt = []
    for number in range(5):
        spans, tokens = data.spans(number), data.document(number).tolist()
        assert spans is not None
        learnt.append([tokenizer.decode(tokens[a:b], skip_special=False) for a, b in spans.tolist()])
    assert learnt == [
        ["A small model. I read <|im_end|> as text.<|im_end|>"],
        [PLAIN[0] + "<|endoftext|>"],
        [PLAIN[1] + "<|endoftext|>"],
        ["我是一个小模型。<|im_end|>", "不客气。很高兴。<|im_end|>"],
        [],
    ]
    turns = [t for t in data.document(0).tolist() if t in (tokenizer.roles.turn_start, tokenizer.roles.turn_end)]
    assert len(turns) == 6  # three messages: the spelt-out token is text


def test_text_alone_has_no_spans_and_no_template(tmp_path: Path):
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PLAIN))
    config = settings(tmp_path, input=[str(tmp_path / "plain.jsonl")])
    process(config)
    assert Dataset.open(config.output).spans(0) is None
    assert Tokenizer.load(config.output / "tokenizer").chat_template is None


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "wordlevel", "unigram"])
def test_sentence_borders_with_every_kind(tmp_path: Path, kind: str):
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*PLAIN, "One only"]))
    config = settings(
        tmp_path, input=[str(tmp_path / "plain.jsonl")], tokenizer_kind=kind, vocab_size=500, sentence_borders=True
    )
    process(config)
    manifest = Manifest.load(config.output)
    assert manifest.settings["tokenizer_kind"] == kind
    data = Dataset.open(config.output)
    check_tables(data)
    tokenizer = Tokenizer.load(config.output / "tokenizer")
    for number, text in enumerate([*PLAIN, "One only"]):
        ends, tokens = data.sentences(number), data.document(number).tolist()
        assert ends is not None and tokens == [*tokenizer.encode(text), *manifest.terminator]
        parts = [tokens[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        own = [tokenizer.encode(sentence) for sentence in split_sentences(text)]
        # Qwen2's pattern puts a Chinese stop and the word behind it into one piece, which merges may join.
        assert parts == own or (kind == "bpe" and number == 1 and parts == [tokens[: ends[-1]]])


def test_pieces_of_max_length(tmp_path: Path):
    whole, cut = settings(tmp_path), settings(tmp_path, output=tmp_path / "data" / "cut", max_length=16)
    process(whole.model_copy(update={"sentence_borders": True}))
    process(cut.model_copy(update={"sentence_borders": True}))
    documents, pieces = Dataset.open(whole.output), Dataset.open(cut.output)
    check_tables(pieces)
    assert pieces.manifest is not None and pieces.manifest.settings["max_length"] == 16
    end = pieces.manifest.terminator
    number = 0
    for document in range(documents.documents):
        tokens: list[int] = []
        counted: list[int] = []
        borders: set[int] = set()
        expected = documents.document(document).tolist()
        while True:
            piece = pieces.document(number).tolist()
            assert len(piece) <= 16 and piece[-1:] == end
            assert pieces.record(number) == documents.record(document)
            spans, ends = pieces.spans(number), pieces.sentences(number)
            assert spans is not None and ends is not None
            counted += [len(tokens) + t for a, b in spans.tolist() for t in range(a, min(b, len(piece) - 1))]
            borders |= {len(tokens) + int(e) for e in ends}
            tokens += piece[:-1]
            number += 1
            if len(piece) < 16 or len(tokens) == len(expected) - 1:
                break
        assert tokens == expected[:-1]
        spans, ends = documents.spans(document), documents.sentences(document)
        assert spans is not None and ends is not None
        assert counted == [t for a, b in spans.tolist() for t in range(a, min(b, len(tokens)))]
        assert borders == {int(e) for e in ends} | {*range(15, len(tokens), 15), len(tokens)}
    assert number == pieces.documents > documents.documents


def test_weights_repeat_documents_and_inputs_say_how_they_were_read(tmp_path: Path):
    talk = write(tmp_path / "talk.jsonl")
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps({"text": text * 2}) + "\n" for text in PLAIN))
    config = settings(tmp_path, input=[{"path": str(talk), "weight": 3}, str(tmp_path / "plain.jsonl")])
    process(config)
    manifest = Manifest.load(config.output)
    data = Dataset.open(config.output)
    check_tables(data)
    records = [(int(r["source"]), int(r["offset"])) for r in map(data.record, range(data.documents))]
    first, rest = records[:7], records[7:]
    assert len(set(first)) == 7 and rest == [row for row in first if row[0] == 0] * 2
    spans = [data.spans(number) for number in range(data.documents)]
    assert [np.asarray(s).tolist() for s in spans[7:]] == [np.asarray(s).tolist() for s in spans[:5]] * 2
    assert manifest.inputs[0].options["weight"] == 3 and manifest.inputs[0].pieces == "bytes"
    assert "weight" not in manifest.inputs[1].options


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path):
    found = []
    for workers in (1, 2):
        config = settings(
            tmp_path, output=tmp_path / str(workers) / "set", workers=workers, block_bytes=200, max_length=20,
            sentence_borders=True,
        )  # fmt: skip
        process(config)
        found.append(digests(config.output))
    assert found[0] == found[1] and any(name.endswith(".spans.npy") for name in found[0])


def test_a_tokenizer_without_turns_is_refused(tmp_path: Path):
    from foundation.errors import UserError

    with pytest.raises(UserError, match="encoding conversations needs a token for the role 'turn_start'"):
        process(settings(tmp_path, tokenizer_kind="wordpiece"))


@pytest.mark.realdata
def test_real_conversations_and_bert_s_vocabulary(tmp_path: Path, realdata: Path):
    chat = realdata / "chat"
    config = settings(tmp_path, input=[str(chat)], vocab_size=1500, max_samples=400, max_length=256)
    process(config)
    data = Dataset.open(config.output)
    check_tables(data)
    assert data.documents >= 400
    with gzip.open(realdata / "imdb" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        (tmp_path / "imdb.jsonl").write_text("".join(islice(file, 200)))
    words = settings(
        tmp_path, input=[str(tmp_path / "imdb.jsonl")], output=tmp_path / "data" / "bert", sentence_borders=True,
        tokenizer=str(realdata / "bert-base-uncased" / "vocab.txt"),
    )  # fmt: skip
    process(words)
    manifest = Manifest.load(words.output)
    assert manifest.terminator == [] and manifest.vocab_size == 30522 and manifest.roles["mask"].id == 103
    for split in SPLITS:
        check_tables(Dataset.open(words.output, split))
    bert = Dataset.open(words.output)
    several = [len(ends) > 1 for ends in map(bert.sentences, range(bert.documents)) if ends is not None]
    assert sum(several) > 0.95 * len(several) > 150
