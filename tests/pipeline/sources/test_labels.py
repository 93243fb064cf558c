"""Class labels from raw files to the training half: numbers in the records, names through `shards.label_names`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig
from pipeline.process import process
from shards.dataset import Dataset
from shards.label_names import label_names

REVIEWS = [(f"review {n} of a film\nthat was {'good' if n % 3 else 'bad'}", int(n % 3 > 0)) for n in range(30)]
NAMES = ("negative", "positive")


def acl_imdb(folder: Path) -> dict[str, Any]:
    """The directories of the Large Movie Review Dataset (Maas et al. 2011), with its unlabelled reviews."""
    for split, reviews in (("train", REVIEWS[:21]), ("test", REVIEWS[21:])):
        for number, (text, label) in enumerate(reviews):
            place = folder / "aclImdb" / split / ("neg", "pos")[label] / f"{number}_7.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
    place = folder / "aclImdb" / "train" / "unsup" / "0_0.txt"
    place.parent.mkdir()
    place.write_text("nobody says how this film was")
    (folder / "aclImdb" / "README").write_text("about the reviews")
    return {"input": [str(folder / "aclImdb")]}


def in_words(folder: Path) -> dict[str, Any]:
    """A CSV file whose labels are words."""
    with (folder / "a.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["label", "text"], *([NAMES[label], text] for text, label in REVIEWS)])
    return {"input": [str(folder / "a.csv")], "labels": list(NAMES)}


def in_numbers(folder: Path) -> dict[str, Any]:
    """Two JSONL files with numbers, the second for testing; the first one's records are called otherwise."""
    for name, fields, reviews in (("a", ("body", "stars"), REVIEWS[:21]), ("b", ("text", "label"), REVIEWS[21:])):
        lines = [json.dumps(dict(zip(fields, review, strict=True))) + "\n" for review in reviews]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    first = {"path": str(folder / "a.jsonl"), "text_field": "body", "label_field": "stars", "labels": list(NAMES)}
    return {"input": [first, {"path": str(folder / "b.jsonl"), "split": "test"}]}


@pytest.mark.parametrize(("write", "names"), [(acl_imdb, ("neg", "pos")), (in_words, NAMES), (in_numbers, NAMES)])
def test_labels_and_their_names_reach_the_training_half(
    tmp_path: Path, tokenizer: Path, write: Callable[[Path], dict[str, Any]], names: tuple[str, ...]
) -> None:
    output = tmp_path / "out" / "x"
    given = {"output": output, "tokenizer": str(tokenizer), "workers": 1, "val_fraction": 0.2, **write(tmp_path)}
    process(PipelineConfig(**given))
    splits = {split: Dataset.open(output, split) for split in ("train", "val", "test")}
    assert {label_names([splits[split]]) for split in ("train", "val")} == {names}
    assert label_names(list(splits.values())) == names
    found = {
        split: [int(dataset.record(number)["label"]) for number in range(dataset.documents)]
        for split, dataset in splits.items()
    }
    tested = [label for _, label in REVIEWS[21:]] if write is not in_words else []
    assert sorted(found["test"]) == sorted(tested) and found["val"]
    others = [label for _, label in REVIEWS[: 30 - len(tested)]]
    assert sorted(x for x in found["train"] + found["val"] if x >= 0) == sorted(others)
    assert found["train"].count(-1) + found["val"].count(-1) == int(write is acl_imdb)
