"""The names of classes, from what the pipeline wrote of its inputs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.label_names import label_names
from shards.manifest import InputEntry, Manifest
from shards.writer import SplitWriter


def labelled(make: SimpleNamespace, folder: Path, labels: list[int], *options: dict[str, Any]) -> Dataset:
    """A dataset with a document for each of `labels`, read from inputs with `options`."""
    make.dataset(folder, [2])
    records = make.records(len(labels))
    records["label"] = labels
    writer = SplitWriter(folder / "train", np.dtype("uint16"), 9)
    for number, document in enumerate(make.documents([5] * len(labels))):
        writer.append(document, np.array([5], np.int32), records[number : number + 1], np.array([number]))
    old = Manifest.load(folder)
    inputs = [InputEntry(name=f"{n}", bytes=5, fingerprint="f" * 64, options=one) for n, one in enumerate(options)]
    splits = {**old.splits, "train": writer.finish()}
    old.model_copy(update={"splits": splits, "inputs": inputs}).save(folder)
    return Dataset.open(folder)


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        ([1, 0, 1], [{"labels": ["bad", "good"]}], ("bad", "good")),
        ([0, -1], [{"labels": ["bad", "good"]}, {"split": "test"}], ("bad", "good")),
        ([2, 0, -1], [{}], ("0", "1", "2")),
        ([2], [{"labels": ["bad", "good"]}, {"labels": ["bad"]}], ("bad", "good", "2")),
        ([-1, -1], [{"labels": ["bad", "good"]}], ()),
        ([], [{}], ()),
    ],
)
def test_names_come_from_the_manifest_and_numbers_stand_for_the_rest(
    make: SimpleNamespace, tmp_path: Path, labels: list[int], options: list[dict[str, Any]], expected: tuple[str, ...]
):
    assert label_names([labelled(make, tmp_path / "set", labels, *options)]) == expected


def test_several_datasets_have_one_list_of_classes(make: SimpleNamespace, tmp_path: Path):
    sets = [labelled(make, tmp_path / "a", [0], {"labels": ["x", "y"]}), labelled(make, tmp_path / "b", [3], {})]
    assert label_names(sets) == ("x", "y", "2", "3")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0], [{"labels": ["x", "y"]}, {"labels": ["y", "x"]}], "class 0 is called 'y' and 'x'.*same --labels"),
        ([0, 2], [{"labels": ["x", "2"]}], "two classes are called '2'"),
        ([0, 10_000], [{}], "the label 10000, .*--label_field"),
    ],
)
def test_what_names_no_classes_is_refused(
    make: SimpleNamespace, tmp_path: Path, labels: list[int], options: list[dict[str, Any]], message: str
):
    with pytest.raises(UserError, match=message):
        label_names([labelled(make, tmp_path / "set", labels, *options)])
