"""Every row of docs/coming-from.md does what it says: read from the page and run, in its order, at tiny sizes."""

from __future__ import annotations

import csv
import json
import random
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from tests.project.way_over import PAGE, ROOT, Row, Story, read_rows, shrunk
from tests.quick import quick
from tokenization.kinds.wordpiece import train_word_piece
from tokenization.train import train_byte_bpe

ROWS = read_rows(PAGE.read_text(encoding="utf-8"))
SECTIONS = {"MateConv": "dataset/pretrain_data", "MicroBERT": "dataset/micro-v1", "BERT2": "dataset/bert-base"}
"""Whom the page is for, and the dataset that their config.yaml names."""
HUB = ("imdb", "wikitext", "wikipedia", "openwebtext", "c4", "pile-cc", "ag_news", "yelp_polarity", "yelp_review_full",
       "amazon_polarity", "dbpedia_14", "squad", "squad_v2")  # fmt: skip
"""Short names of hub datasets; a directory of that name goes first."""
WORDS = {"pos": "wonderful great moving funny fine", "neg": "dull boring awful stupid poor"}


def reviews(seed: int, count: int, label: str) -> list[str]:
    """Texts of some sentences, with words of the label."""
    chance = random.Random(f"{label} {seed}")
    words = WORDS[label].split()

    def sentence() -> str:
        subject = chance.choice(["The film", "This movie", "The acting", "Its plot", "The end"])
        return f"{subject} was {chance.choice(words)}, and {chance.choice(words)} {chance.randrange(99)} times."

    return [" ".join(sentence() for _ in range(chance.randint(3, 7))) for _ in range(count)]


def write_reviews(directory: Path) -> None:
    """Like aclImdb: train and test, pos and neg."""
    for seed, split, count in ((1, "train", 24), (2, "test", 4)):
        for label in WORDS:
            folder = directory / split / label
            folder.mkdir(parents=True)
            for number, text in enumerate(reviews(seed, count, label)):
                (folder / f"{number}_7.txt").write_text(text)


def write_texts(path: Path, seed: int) -> None:
    """JSON lines with one text under the names that datasets have for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = reviews(seed, 30, "pos") + reviews(seed, 30, "neg")
    path.write_text("".join(json.dumps({"text": t, "content": t, "context": t, "label": 1}) + "\n" for t in texts))


def write_world(directory: Path) -> None:
    """What a user has: texts, tokenizers, a BERT directory, and our recipes, made tiny."""
    texts = reviews(1, 24, "pos") + reviews(1, 24, "neg")
    write_reviews(directory / "imdb")
    for seed, name in enumerate(HUB[1:], 3):
        write_texts(directory / name / "a.jsonl", seed)
    write_texts(directory / "dataset" / "raw_data.jsonl", 99)
    talks = [[("user", f"is {number} fine"), ("assistant", f"{number} was dull")] for number in range(60)]
    said = [{"messages": [{"role": role, "content": text} for role, text in talk]} for talk in talks]
    (directory / "talks.jsonl").write_text("".join(f"{json.dumps(talk)}\n" for talk in said))
    (directory / "prompts.txt").write_text("The film\nThis movie\n")
    (directory / "texts.txt").write_text("The film was dull.\nThis movie was great.\n")
    with (directory / "reviews.csv").open("w", newline="") as file:
        rows = [
            (text, {"pos": "positive", "neg": "negative"}[label]) for label in WORDS for text in reviews(7, 12, label)
        ]
        csv.writer(file).writerows([("text", "sentiment"), *rows])
    train_byte_bpe(texts, 400).save(directory / "path" / "to" / "tokenizer")
    write_bert(directory / "path" / "to" / "bert", texts)
    vocabulary = (directory / "path" / "to" / "bert" / "vocab.txt").read_text()
    (directory / "path" / "to" / "vocab.txt").write_text(vocabulary)
    (directory / "configs").mkdir()
    for recipe in [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]:
        tiny = shrunk(yaml.safe_load(recipe.read_text()), "path/to/bert")
        (directory / recipe.relative_to(ROOT)).write_text(yaml.safe_dump(tiny, sort_keys=False))


def write_bert(directory: Path, texts: list[str]) -> None:
    """A BERT of two layers as `transformers` saves it, with BERT's vocab.txt."""
    from transformers import BertConfig, BertForPreTraining

    vocabulary = train_word_piece(texts, 200).json()["model"]["vocab"]
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=128,
    )  # fmt: skip
    BertForPreTraining(config).save_pretrained(directory)
    (directory / "vocab.txt").write_text(
        "".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__))
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which all rows run."""
    directory = tmp_path_factory.mktemp("old") / "user"
    directory.mkdir()
    write_world(directory)
    return directory


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["quick", "whole"])
@pytest.mark.parametrize("section", quick(SECTIONS, ["MateConv", "MicroBERT"]))
def test_every_row_runs(section: str, whole: bool, world: Path) -> None:
    story = Story(world, [row for row in ROWS if row.section == section], whole)
    base = yaml.safe_load((world / "config.yaml").read_text())
    base["data"]["train_data_path"] = SECTIONS[section]
    (world / "config.yaml").write_text(yaml.safe_dump(base))
    for table, group in groupby(story.rows, lambda row: row.table):
        rows: list[Row] = list(group)
        if table.startswith("Flags of"):
            story.flags(table, rows)
        elif table.startswith("Keys of"):
            story.keys(rows)
        elif table in ("Files", "Directories"):
            assert not list(story.files(rows))
        else:
            for row in rows:
                story.run(row)


def test_every_row_has_something_to_run() -> None:
    assert {row.section for row in ROWS} == set(SECTIONS)
    assert not [row for row in ROWS if not row.new]
    assert len(ROWS) > 150


def test_the_old_commands_are_there() -> None:
    old = "\n".join(row.old for row in ROWS)
    for version in range(5):
        assert f"mlm_pretrain_v{version}" in old
    for word in ("info", "usage", "key", "clear"):
        assert f"cache_manager.py {word}" in old
    for word in ("list", "info", "generate"):
        assert f"multi_gpu_configs {word}" in old
    for word in ("quick", "pretrain", "finetune", "full", "inference"):
        assert f"main.py {word}" in old
    for recipe in (ROOT / "configs").glob("micro-*.yaml"):
        assert any(recipe.name in text for row in ROWS for text in row.new), recipe.name
